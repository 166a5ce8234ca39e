"""Labels as a classifier uses them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from candor.clip.artifact import Scope
from candor.clip.prompt_tokens import TokenizedNames


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
        probabilities: from logits (..., C) over these labels to calibrated probabilities (..., C).
        tokens: of the labels, where text features depend on the image as well; those above then are the ones without it.
    """

    labels: tuple[str, ...]
    templates: tuple[str, ...] | None
    scopes: tuple[Scope, ...]
    text_features: Tensor
    zero_shot_features: Tensor
    text_deviation: float
    divergence: float
    probabilities: Callable[[Tensor], Tensor]
    tokens: TokenizedNames | None = None

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
