"""Labels scored by themselves, against words of the vocabulary. Knows nothing of HTTP or BentoML."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from candor.calibration.multi_label import multi_label
from service.label_set import LabelSet
from vocab_index.index import VocabularyIndex

MOST_WORDS = 1000  # of a background
SAME = 0.95  # cosine from which on a word means what the label means
NEAR = 0.02  # share of the background that is too near to each label to be a rival


@dataclass(frozen=True)
class MultiLabelView:
    """One label set with each label by itself; made once and kept.

    Attributes:
        label_set: the labels.
        logits: from image features (B, D) to logits of the labels (B, C).
        background: scaled text features of words, (M, D); the same for every label set.
        rivals: which of them each label is compared with, (C, M) bool.
    """

    label_set: LabelSet
    logits: Callable[[Tensor], Tensor]
    background: Tensor
    rivals: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of memory that go when it goes, at most: its label set may be kept elsewhere too."""
        return self.rivals.nbytes + self.label_set.nbytes

    @torch.no_grad()
    def scores(self, image_features: Tensor) -> Tensor:
        """How surely images show each label.

        Args:
            image_features: (B, D) of L2 norm 1.

        Returns:
            (B, C) float32 in 0..1; see `candor.calibration.multi_label`.
        """
        images = image_features.float()
        return multi_label(self.logits(images), images @ self.background.T, self.rivals)


class Background:
    """Words of the vocabulary, evenly spread over it; the same for every label set, so that scores do not depend on others.

    Args:
        index: the vocabulary.
        logit_scale: factor from cosine to logit, the model's own.
        device: where features are compared.
    """

    def __init__(self, index: VocabularyIndex, logit_scale: float, device: torch.device) -> None:
        words = min(len(index), MOST_WORDS)
        rows = np.arange(words) * len(index) // words
        self._features = torch.from_numpy(index.store.vectors(rows)).to(device)
        self._scaled = logit_scale * self._features

    @torch.no_grad()
    def view(self, label_set: LabelSet, logits: Callable[[Tensor], Tensor]) -> MultiLabelView:
        """The view of a label set.

        Args:
            label_set: the labels.
            logits: from image features (B, D) to logits of the labels (B, C).
        """
        return MultiLabelView(label_set, logits, self._scaled, self.rivals(label_set.zero_shot_features))

    @torch.no_grad()
    def rivals(self, zero_shot_features: Tensor) -> Tensor:
        """Words that do not mean what a label means: not the nearest ones, and at least the farthest. (C, M) bool."""
        cosines = zero_shot_features.float() @ self._features.T
        near = cosines >= SAME
        near.scatter_(1, cosines.topk(int(NEAR * cosines.shape[1])).indices, value=True)
        near.scatter_(1, cosines.argmin(dim=1, keepdim=True), value=False)
        return ~near
