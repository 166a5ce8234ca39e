"""Inverted lists: how vectors are divided into lists, and how many lists a search must look into."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vocab_index.store import exact
from vocab_index.store.vectors import BLOCK, Floats, Ids, blocks_of, slices

MOST_LISTS = 65_536
VECTORS_A_LIST = 40  # of the sample that the centroids are fitted to; FAISS warns below 39
ROUNDS = 10
COSINES_AT_ONCE = 2**24  # 64 MB
RECALL = 0.99  # of the ten nearest
NEIGHBOURS = 10
SAMPLE = 256  # queries that the number of lists is tuned on
COSINE = 0.3  # of such a query to a vector


def list_count(count: int) -> int:
    """How many lists to divide N vectors into: 4 sqrt(N), so that finding lists and reading them cost about the same."""
    return max(1, min(MOST_LISTS, round(4 * math.sqrt(count)), count // VECTORS_A_LIST))


def fit_centroids(features: Floats, lists: int, seed: int = 0) -> Floats:
    """Spherical k-means by inner product on a seeded sample.

    In torch, because FAISS's own training runs on FAISS's BLAS; see exact.py. The same features give the same bits
    as long as torch runs on the same number of threads.

    Args:
        features: (N, D) array or memory map.
        lists: L, at most N.
        seed: of the sample, whose first L members are the first centroids.

    Returns:
        (L, D) of L2 norm 1.
    """
    rows = np.random.default_rng(seed).permutation(len(features))[: lists * VECTORS_A_LIST]
    first = torch.from_numpy(np.array(features[rows[:lists]], np.float32))
    sample = torch.from_numpy(np.array(features[np.sort(rows)], np.float32))
    centroids = normalize(first)
    for _ in range(ROUNDS):
        nearest = _nearest(sample, centroids)
        sums = torch.zeros_like(centroids).index_add_(0, nearest, sample)
        filled = torch.bincount(nearest, minlength=lists) > 0
        centroids[filled] = normalize(sums[filled])
    return np.asarray(centroids.numpy(), np.float32)


def nearest_list(vectors: Tensor, centroids: Floats) -> Ids:
    """The list that each vector belongs to.

    Args:
        vectors: (B, D).
        centroids: (L, D).

    Returns:
        (B,), the largest inner product.
    """
    return np.asarray(_nearest(vectors, torch.from_numpy(centroids)).numpy(), np.int64)


def _nearest(vectors: Tensor, centroids: Tensor) -> Tensor:
    rows = max(1, COSINES_AT_ONCE // len(centroids))
    return torch.cat([(vectors[some] @ centroids.T).argmax(dim=1) for some in slices(len(vectors), rows)])


def tune(features: Floats, probe: Callable[[Floats, int, int], tuple[Floats, Ids]], lists: int) -> tuple[int, float]:
    """How many lists a search must look into to find the neighbours of what asks: images, and words of other prompts.

    It is tuned on `likely_queries`. The vectors themselves would be too easy: each lies in the middle of its list, and so
    do its neighbours, while what is near to an image is spread over many.

    Args:
        features: (N, D).
        probe: searches queries (Q, D) for k neighbours in so many lists; gives inner products and ids (Q, k).
        lists: L.

    Returns:
        The fewest lists, and their recall@10 on a seeded sample against comparing all: at least `RECALL`.
    """
    queries, k = likely_queries(features), min(NEIGHBOURS, len(features))

    def products(some: Tensor) -> Tensor:
        return exact.streamed(some, blocks_of(features), len(features))

    count, blocks = len(features), partial(blocks_of, features)
    true = exact.search(torch.from_numpy(queries), products, count, k, blocks, BLOCK)[1].numpy()
    return fewest_probes(lambda nprobe: recall_at_ten(probe(queries, k, nprobe)[1], true), lists)


def fewest_probes(recall_with: Callable[[int], float], lists: int) -> tuple[int, float]:
    """The fewest lists to look into that find enough.

    Args:
        recall_with: recall@10 when so many lists are looked into; 1 for all of them.
        lists: L.

    Returns:
        How many, and their recall, at least `RECALL`. Doubling finds the range, halving it the number.
    """
    few, many = 0, 1
    while (recall := recall_with(many)) < RECALL and many < lists:
        few, many = many, min(2 * many, lists)
    while many - few > 1:
        between = (few + many) // 2
        if (found := recall_with(between)) >= RECALL:
            many, recall = between, found
        else:
            few = between
    return many, recall


def likely_queries(features: Floats) -> Floats:
    """What may be asked: vectors turned away in random directions until their cosine is about `COSINE` to where they were.

    CLIP's image features have about this cosine to the text that describes them.

    Args:
        features: (N, D) of L2 norm 1.

    Returns:
        (at most `SAMPLE`, D) of L2 norm 1; seeded.
    """
    generator = np.random.default_rng(0)
    rows = np.sort(generator.permutation(len(features))[:SAMPLE])
    shown = torch.from_numpy(np.array(features[rows], np.float32))
    away = torch.from_numpy(generator.standard_normal(tuple(shown.shape), np.float32))
    turned = COSINE * normalize(shown) + math.sqrt(1 - COSINE**2) * normalize(away)
    return np.asarray(normalize(turned).numpy(), np.float32)


def recall_at_ten(found: Ids, exact: Ids) -> float:
    """The share of the true neighbours that were found.

    Args:
        found: ids (Q, k).
        exact: ids (Q, k), the true ones.
    """
    pairs = zip(found.tolist(), exact.tolist(), strict=True)
    return sum(len(set(some) & set(true)) for some, true in pairs) / exact.size
