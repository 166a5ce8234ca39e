"""A prediction, as its feedback will need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from candor.clip.artifact import Scope
from service.feedback.label_hashes import among, compared

Known: TypeAlias = Literal["true", "false", "unscored"]
Outcome: TypeAlias = Literal["correct", "wrong", "outside"]
Refused: TypeAlias = Literal["invalid", "expired", "conflict"]  # why feedback is not taken

KNOWN: tuple[Known, ...] = get_args(Known)
REFUSED: tuple[Refused, ...] = get_args(Refused)


@dataclass(frozen=True)
class Receipt:
    """One prediction, as its feedback will need it.

    Attributes:
        id: 128 random bits in URL-safe base64, 22 characters; unique.
        issued: seconds since 1970.
        artifact: tag of the prompt artifact that answered.
        scope: of the predicted label.
        label: predicted.
        confidence: as it was answered.
        known: whether the image was taken to show any of the labels; "unscored" where nobody judged it.
        multiplier: what the calibrator multiplied the logits by.
        gamma: DAC's distance factor of the predicted label; None where the artifact has no base labels.
        curve: of the logits, see `candor.calibration.confidence_curve`; a receipt keeps it in float16.
        labels: hashes of the labels of the request, see `label_hashes`.
    """

    id: str
    issued: float
    artifact: str
    scope: Scope
    label: str
    confidence: float
    known: Known
    multiplier: float
    gamma: float | None
    curve: tuple[float, ...]
    labels: bytes

    def outcome(self, true_label: str) -> Outcome:
        """What a true label says of the prediction: it is the predicted one, another one of the request, or none."""
        if compared(true_label) == compared(self.label):
            return "correct"
        return "wrong" if among(true_label, self.labels) else "outside"
