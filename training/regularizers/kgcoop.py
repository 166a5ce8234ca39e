"""KgCoOp's term."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from candor.calibration.divergence import text_deviation
from training.regularizers.base import Regularizer, StepOutput


class KgCoOp(Regularizer):
    """Hold the base classes to their zero-shot place: 1 - mean_c cos(w_c, w_c^zs) (Yao et al. 2023, eq. 3, in cosine form).

    The authors' code uses the cosine; weight 8.
    """

    weight: ClassVar[float] = 8.0

    def __call__(self, step: StepOutput) -> Tensor:
        """The term, a scalar in 0..2."""
        return text_deviation(step.text_features, step.zero_shot_text_features).mean()
