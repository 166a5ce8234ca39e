"""The receipts of an answer."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from candor.errors import InvalidInput
from service.classifier import Prediction
from service.feedback.receipt import Receipt
from service.feedback.receipt_bytes import ID_BYTES
from service.feedback.receipts import Receipts
from service.label_set import LabelSet


def prediction_ids(
    receipts: Receipts | None, artifact: str, label_set: LabelSet, predictions: Sequence[Prediction]
) -> list[str | None]:
    """A receipt a prediction.

    Args:
        receipts: sign them; None where no feedback is taken.
        artifact: tag of the artifact that predicted.
        label_set: that it chose from.
        predictions: one an image.

    Returns:
        Of each its receipt; None where it has no evidence, so many labels that no receipt would be taken back, or a
        predicted label that no database keeps.
    """
    return [_receipt(receipts, artifact, label_set, prediction) if receipts else None for prediction in predictions]


def _receipt(receipts: Receipts, artifact: str, label_set: LabelSet, prediction: Prediction) -> str | None:
    evidence = prediction.evidence
    if evidence is None or not (_keepable(prediction.label) and _keepable(artifact)):
        return None
    receipt = Receipt(
        id=secrets.token_urlsafe(ID_BYTES),
        issued=receipts.now(),
        artifact=artifact,
        scope=prediction.scope,
        label=prediction.label,
        confidence=prediction.confidence,
        known=prediction.known,
        multiplier=evidence.multiplier,
        gamma=evidence.gamma,
        curve=evidence.curve,
        labels=label_set.hashes,
    )
    try:
        return receipts.sign(receipt)
    except (InvalidInput, ValueError):  # too long, or a field is out of its range
        return None


def _keepable(text: str) -> bool:
    """Whether PostgreSQL takes a text."""
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return "\0" not in text
