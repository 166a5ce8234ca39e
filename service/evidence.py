"""What is known of a prediction beside its probabilities: enough to calibrate it anew, without its image or its logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from candor.calibration.confidence_curve import confidence_curve
from service.label_set import LabelSet


@dataclass(frozen=True)
class Evidence:
    """What a calibrator can be judged and made anew by.

    Attributes:
        multiplier: what the calibrator multiplied the logits by.
        gamma: DAC's distance factor of the predicted label; None where no labels were tuned on.
        curve: of the logits, see `candor.calibration.confidence_curve`, in float16.
    """

    multiplier: float
    gamma: float | None
    curve: tuple[float, ...]


def evidence_of(logits: Tensor, best: Sequence[int], label_set: LabelSet) -> list[Evidence]:
    """The evidence of predictions.

    Args:
        logits: (B, C).
        best: the predicted label of each row.
        label_set: of the C labels.
    """
    curves = confidence_curve(logits).half().tolist()
    return [Evidence(*label_set.factors[b], tuple(curve)) for b, curve in zip(best, curves, strict=True)]
