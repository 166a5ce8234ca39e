"""NegLabel's negatives: the words of a vocabulary that are far from all labels of one label set."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from vocab_index.store.faiss_store import VectorStore

COSINES_AT_ONCE = 2**24  # 64 MB, whatever the number of labels
FEWEST_ROWS, MOST_ROWS = 256, 16_384  # of a block


class NegMining(BaseModel):
    """How negatives are chosen and grouped (Jiang et al., ICLR 2024, section 3.2; the values are the paper's).

    Attributes:
        quantile: q; r(w) is the q-quantile of a word's cosines to the labels, a maximum that a few labels cannot decide.
        share: this share of the vocabulary, the words of lowest r, become negatives.
        most: at most so many: the paper has about 10,000, and an image must be compared with all of them.
        near: a word with a larger cosine to any label comes last, whatever its r (CSP, NeurIPS 2024, does the same).
            Without it a label that is far from its fellows would be mined as its own negative.
        groups: G of the score.
        seed: of the permutation that mixes the groups.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantile: float = Field(0.95, ge=0, le=1)
    share: float = Field(0.15, gt=0, le=1)
    most: int = Field(20_000, ge=1)
    near: float = 0.95
    groups: int = Field(100, ge=1)
    seed: int = 0


def mine(store: VectorStore, label_features: Tensor, mining: NegMining) -> NDArray[np.int64]:
    """The negatives of a label set, exactly; memory is bounded for any number of labels and words.

    Args:
        store: the vocabulary's text features.
        label_features: zero-shot text features of the labels, (C, D) of L2 norm 1, C at least 1.
        mining: how.

    Returns:
        Rows of the vocabulary by rising r, equal ones by row; floor(share N) of them, at least one and at most `most`.
    """
    distance = nearness(store, label_features, mining)
    count = max(1, min(mining.most, math.floor(mining.share * len(store))))
    limit = np.partition(distance, count - 1)[count - 1]
    below, equal = np.flatnonzero(distance < limit), np.flatnonzero(distance == limit)
    rows = np.concatenate([below, equal[: count - len(below)]])
    return rows[np.lexsort((rows, distance[rows]))].astype(np.int64)


def nearness(store: VectorStore, label_features: Tensor, mining: NegMining) -> NDArray[np.float32]:
    """What words are ranked by: r(w), or 2 + r(w), more than any cosine, for a word that nearly is a label.

    r is the q-quantile, interpolated linearly between order statistics as by numpy. Only the top of a word's cosines
    decides it: with C labels, the C - floor(q (C - 1)) largest.

    Args:
        store: N vectors of L2 norm 1.
        label_features: (C, D) of L2 norm 1.
        mining: q, and what is near.

    Returns:
        (N,).
    """
    labels = label_features.detach().cpu().float().T.contiguous()
    count = labels.shape[1]
    place = mining.quantile * (count - 1)
    low = math.floor(place)
    distance = np.empty(len(store), np.float32)
    for ids, vectors in store.tensors(max(FEWEST_ROWS, min(MOST_ROWS, COSINES_AT_ONCE // count))):
        top = (vectors @ labels).topk(count - low, dim=1).values  # descending
        least, above = top[:, -1], top[:, -2 if low + 1 < count else -1]
        r = torch.lerp(least, above, place - low)
        distance[ids] = torch.where(top[:, 0] > mining.near, 2 + r, r).numpy()
    return distance
