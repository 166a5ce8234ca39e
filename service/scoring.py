"""From image features to predictions: how much work that is, and the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from service.classifier import NEAREST, Classifier, Prediction
from service.label_set import LabelSet
from service.open_set import OpenSetView

SMALL = 2**21  # products of numbers: a millisecond or two of one core, no more than an event loop can spare


class MultiLabelScores(Protocol):
    """Labels, each scored by itself."""

    def scores(self, image_features: Tensor) -> Tensor:
        """How surely images (B, D) show each label, (B, C) in 0..1."""


@dataclass(frozen=True)
class Scorer:
    """Labels, ready to score any images.

    Attributes:
        classifier: of the labels.
        label_set: that is chosen from.
        open_set: for open-set answers; None leaves them out.
        multi_label: scores every label by itself; None makes one choice among them.
        evidence: whether predictions have theirs; those of `multi_label` never do.
    """

    classifier: Classifier
    label_set: LabelSet
    open_set: OpenSetView | None
    multi_label: MultiLabelScores | None
    evidence: bool = False

    def is_small(self, images: int) -> bool:
        """Whether the event loop can score so many images itself, with no thread in between."""
        labels, words = len(self.label_set.labels), vocabulary_size(self.classifier)
        rows = labels + (2 * words if self.open_set or self.multi_label else 0)  # nearest words, and negatives
        return is_small(self.label_set.text_features, images * (labels if self.multi_label else 1), rows)

    @property
    def needs_model(self) -> bool:
        """Whether the labels' text features depend on the image, so that the text tower runs for each."""
        return self.label_set.tokens is not None

    def predictions(self, image_features: Tensor) -> list[Prediction]:
        """What images show.

        Args:
            image_features: (B, D) of L2 norm 1.
        """
        if self.multi_label is None:
            return self.classifier.classify(image_features, self.label_set, self.open_set, self.evidence)
        scores = self.multi_label.scores(image_features)
        highest, best = scores.max(dim=-1)
        answers = self.open_set.answers(image_features, NEAREST) if self.open_set else [None] * len(image_features)
        labels, scopes = self.label_set.labels, self.label_set.scopes
        return [
            Prediction(labels[b], scopes[b], high, tuple(row), answer)
            for b, high, row, answer in zip(best.tolist(), highest.tolist(), scores.tolist(), answers, strict=True)
        ]


def is_small(features: Tensor, images: int, rows: int) -> bool:
    """Whether the event loop can spare the time to compare images with features.

    Args:
        features: (C, D) that tell the width and the device; a GPU is shared with the image tower, and waits for it.
        images: to compare.
        rows: that each is compared with.
    """
    return features.device.type == "cpu" and images * rows * features.shape[1] <= SMALL


def vocabulary_size(classifier: Classifier) -> int:
    """Words of the served vocabulary; 0 without one."""
    return 0 if classifier.vocabulary is None else len(classifier.vocabulary)
