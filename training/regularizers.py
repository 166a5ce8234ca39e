"""Regularisers: what is added to the cross-entropy. One class each, and one line in `training.methods`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from candor.calibration.divergence import text_deviation
from candor.clip.prompt_tokens import TokenizedNames
from candor.errors import InvalidInput


@dataclass(frozen=True)
class StepOutput:
    """What one training step knows; a regulariser may use any of it.

    Attributes:
        text_features: of the base classes under the tuned context, (C, D).
        zero_shot_text_features: of the base classes under the hand-written template, (C, D).
        logits: of the batch, (B, C) float32.
        labels: of the batch, (B,).
        encode_names: text features of any names under the tuned context, (N, D).
    """

    text_features: Tensor
    zero_shot_text_features: Tensor
    logits: Tensor
    labels: Tensor
    encode_names: Callable[[TokenizedNames], Tensor]


class Regularizer(Protocol):
    """A term of the loss."""

    def __call__(self, step: StepOutput) -> Tensor:
        """The unweighted term, a scalar."""
        ...


class KgCoOp:
    """Hold the base classes to their zero-shot place: 1 - mean_c cos(w_c, w_c^zs) (Yao et al. 2023, eq. 3, in cosine form).

    The authors' code uses the cosine; weight 8.
    """

    def __call__(self, step: StepOutput) -> Tensor:
        """The term, a scalar in 0..2."""
        return text_deviation(step.text_features, step.zero_shot_text_features).mean()


class DynamicOutlierRegularization:
    """DOR: hold *outliers* near the base classes to their zero-shot place, leave the base classes free.

    L_dor = 1 - (1/B) sum_b cos(psi(t'_b), psi(t_b)), with a fresh uniform batch of B outliers each step; t' is the tuned
    prompt of an outlier, t its zero-shot prompt (Wang, Li and Wei, ICML 2025). Weight 8 with CoOp, 2 with other methods.

    Args:
        outliers: K outlier names, tokenized for the learner.
        zero_shot_features: their text features under the hand-written template, (K, D), computed once.
        batch_size: B; all K are used where there are fewer.
        seed: of the draw.
    """

    def __init__(self, outliers: TokenizedNames, zero_shot_features: Tensor, batch_size: int, seed: int) -> None:
        if len(outliers) != len(zero_shot_features):
            raise InvalidInput(f"{len(outliers)} outliers but {len(zero_shot_features)} zero-shot features")
        if batch_size < 1 or not len(outliers):
            raise InvalidInput(f"DOR needs at least one outlier a step; got {len(outliers)} and batch {batch_size}")
        self._outliers, self._zero_shot = outliers, zero_shot_features
        self._batch_size = min(batch_size, len(outliers))
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, step: StepOutput) -> Tensor:
        """The term, a scalar in 0..2."""
        rows = torch.randperm(len(self._outliers), generator=self._generator)[: self._batch_size]
        rows = rows.to(self._zero_shot.device)
        return text_deviation(step.encode_names(self._outliers[rows]), self._zero_shot[rows]).mean()
