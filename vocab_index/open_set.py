"""How surely an image shows one of a caller's labels: NegLabel where there is a vocabulary, MCM where there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from candor.calibration.open_set import OpenSetThreshold, ScoreName, matching_threshold, mcm, neglabel
from candor.errors import InvalidInput
from vocab_index.index import VocabularyIndex
from vocab_index.kept import KeptValues
from vocab_index.negatives import NegMining, mine

IMAGES_AT_ONCE = 64  # logits against 20,000 negatives: 5 MB
CACHE_BYTES = 512 * 2**20  # some 14 label sets with WordNet's 17,669 negatives of width 512
DEFAULT_MINING = NegMining()


class OpenSet:
    """Open-set scores of any label set. Safe to call from several threads.

    Args:
        logit_scale: factor from cosine to logit, the model's own.
        index: vocabulary of the same backbone that NegLabel takes its negatives from; None leaves MCM.
        mining: how negatives are chosen.
        cache_bytes: bound on the negatives' features that are kept, over all label sets.
    """

    def __init__(
        self,
        logit_scale: float,
        index: VocabularyIndex | None = None,
        mining: NegMining = DEFAULT_MINING,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._scale, self._index, self._mining = logit_scale, index, mining
        self._kept: KeptValues[Tensor] = KeptValues(cache_bytes, lambda features: features.nbytes)

    @property
    def method(self) -> ScoreName:
        """Which score it is."""
        return "mcm" if self._index is None else "neglabel"

    @property
    def vocabulary(self) -> str | None:
        """Digest of the vocabulary; None for MCM."""
        return None if self._index is None else self._index.digest

    @property
    def kept_bytes(self) -> int:
        """Bytes of the negatives' features that are kept."""
        return self._kept.kept_bytes

    def threshold(self, thresholds: Sequence[OpenSetThreshold]) -> OpenSetThreshold | None:
        """An artifact's threshold for this score with this vocabulary; None where it has none."""
        return matching_threshold(thresholds, self.method, self.vocabulary)

    def for_labels(self, text_features: Tensor, zero_shot_features: Tensor) -> OpenSetLabels:
        """Scores for one label set; its negatives are mined once, and again only when the cache had to forget them.

        Args:
            text_features: of the labels as images are compared with them (tuned, where there is a tuned prompt), (C, D).
            zero_shot_features: of the same labels under a hand-written prompt, (C, D); negatives are far from these.

        Raises:
            InvalidInput: no label, or features of another width than the vocabulary's.
        """
        if not len(text_features) or text_features.shape != zero_shot_features.shape:
            shapes = f"{tuple(text_features.shape)} and {tuple(zero_shot_features.shape)}"
            raise InvalidInput(f"tuned and zero-shot text features are one row a label each, at least one; got {shapes}")
        if self._index is not None and text_features.shape[1] != self._index.store.dimension:
            wide = self._index.store.dimension
            raise InvalidInput(f"the labels' features are {text_features.shape[1]} wide, the vocabulary's {wide}")
        text, zero_shot = text_features.float(), zero_shot_features.detach().float()
        if self._index is None:
            return OpenSetLabels(text, self._scale)
        key = hashlib.sha256(zero_shot.cpu().contiguous().numpy().data).digest()
        negatives = partial(self._kept.get, key, partial(self._mine, zero_shot))
        negatives()
        return OpenSetLabels(text, self._scale, self._mining.groups, negatives)

    def _mine(self, zero_shot_features: Tensor) -> Tensor:
        """Features of the negatives, (M, D) on the labels' device, in an order that mixes the groups."""
        assert self._index is not None
        rows = mine(self._index.store, zero_shot_features, self._mining)
        mixed = np.random.default_rng(self._mining.seed).permutation(rows)
        return torch.from_numpy(self._index.store.vectors(mixed)).to(zero_shot_features.device)


@dataclass(frozen=True)
class OpenSetLabels:
    """One label set. It holds the labels' features but asks for the negatives', so any number of them may be kept.

    Attributes:
        text_features: (C, D) float32.
        logit_scale: factor from cosine to logit.
        groups: of negatives.
        negatives: gives the negatives' features, (M, D), from the cache or mined anew; None is MCM.
    """

    text_features: Tensor
    logit_scale: float
    groups: int = 1
    negatives: Callable[[], Tensor] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the labels' features: these, and the zero-shot ones where negatives may have to be mined again."""
        return self.text_features.nbytes * (1 if self.negatives is None else 2)

    @torch.inference_mode()
    def score(self, image_features: Tensor) -> Tensor:
        """How surely each image shows one of the labels.

        Args:
            image_features: (B, D) of L2 norm 1.

        Returns:
            (B,) float32 in 0..1; high means known.
        """
        images = image_features.float()
        if self.negatives is None:
            return mcm(images @ self.text_features.T)
        negatives = self.negatives()
        scores = [images.new_empty(0)]
        for start in range(0, len(images), IMAGES_AT_ONCE):
            scaled = self.logit_scale * images[start : start + IMAGES_AT_ONCE]
            scores.append(neglabel(scaled @ self.text_features.T, scaled @ negatives.T, self.groups))
        return torch.cat(scores)
