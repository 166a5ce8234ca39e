"""Labels as a classifier uses them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from candor.calibration.calibrators import calibrated
from candor.clip.artifact import Scope
from candor.clip.prompt_tokens import TokenizedNames
from service.feedback.label_hashes import label_hashes


@dataclass(frozen=True)
class LabelSet:
    """Labels as the classifier uses them.

    Attributes:
        labels: C labels.
        templates: of the caller's own, averaged; None for the tuned prompt.
        scopes: base or new, of each.
        text_features: (C, D).
        zero_shot_features: under the hand-written template, (C, D).
        text_deviation: mean over the labels of 1 - cos(tuned, zero-shot).
        divergence: FD of the label set; NaN for one label.
        multiplier: of the calibrator, for each label that may be predicted, (C,) float64.
        tokens: of the labels, where text features depend on the image as well; those above then are the ones without it.
        gamma: DAC's distance factor of each label, (C,) float64; None where no labels were tuned on.
    """

    labels: tuple[str, ...]
    templates: tuple[str, ...] | None
    scopes: tuple[Scope, ...]
    text_features: Tensor
    zero_shot_features: Tensor
    text_deviation: float
    divergence: float
    multiplier: Tensor
    tokens: TokenizedNames | None = None
    gamma: Tensor | None = None

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities (..., C) of logits (..., C) over these labels."""
        return calibrated(logits, self.multiplier)

    @cached_property
    def factors(self) -> tuple[tuple[float, float | None], ...]:
        """Multiplier and gamma of each label."""
        gammas = [None] * len(self.labels) if self.gamma is None else self.gamma.tolist()
        return tuple(zip(self.multiplier.tolist(), gammas, strict=True))

    @cached_property
    def hashes(self) -> bytes:
        """Of the labels, for receipts."""
        return label_hashes(self.labels)

    @property
    def nbytes(self) -> int:
        """Bytes of its features."""
        features = self.text_features.nbytes + self.zero_shot_features.nbytes
        return features + (self.tokens.embeddings.nbytes if self.tokens else 0)


@dataclass(frozen=True)
class LabelFeatures:
    """Text features of labels; rows are independent of each other, so they may be kept label by label.

    Attributes:
        text: that images are compared with, (C, D).
        zero_shot: under a hand-written template, (C, D); the same tensor where no prompt was tuned.
    """

    text: Tensor
    zero_shot: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes that they take."""
        return self.text.nbytes + (0 if self.zero_shot is self.text else self.zero_shot.nbytes)
