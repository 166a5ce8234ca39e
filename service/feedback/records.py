"""Feedback as it comes and as it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Row

from service.feedback.bins import bin_of
from service.feedback.receipt import Outcome, Receipt

CURVE = np.dtype("<f4")  # of what is kept; a receipt carries no more


@dataclass(frozen=True)
class Feedback:
    """The true label of a prediction, as somebody sends it.

    Attributes:
        receipt: of the prediction.
        label: the true one.
        outcome: what the label says of the prediction.
        received: seconds since 1970.
    """

    receipt: Receipt
    label: str
    outcome: Outcome
    received: float


@dataclass(frozen=True)
class StoredFeedback:
    """A prediction with its true label, as it is kept: the fields of the receipt, and what came with the label.

    Attributes:
        predicted: the receipt's label.
        label: the true one: the last that was sent.
        outcome: what that says of the prediction.
        received: when the first label came, seconds since 1970.
        replica: that took the first label.
        overwritten: how often the label was replaced.
    """

    prediction_id: str
    artifact: str
    scope: str
    predicted: str
    label: str
    outcome: Outcome
    confidence: float
    known: str
    multiplier: float
    gamma: float | None
    curve: tuple[float, ...]
    issued: float
    received: float
    replica: str
    overwritten: int


def row_of(feedback: Feedback, replica: str) -> dict[str, Any]:
    """A new row of the table."""
    receipt = feedback.receipt
    return {
        "prediction_id": receipt.id,
        "artifact": receipt.artifact,
        "scope": receipt.scope,
        "predicted": receipt.label,
        "label": feedback.label,
        "outcome": feedback.outcome,
        "counted": feedback.outcome,
        "confidence": receipt.confidence,
        "bin": bin_of(receipt.confidence),
        "known": receipt.known,
        "multiplier": receipt.multiplier,
        "gamma": receipt.gamma,
        "curve": np.asarray(receipt.curve, CURVE).tobytes(),
        "issued": receipt.issued,
        "received": feedback.received,
        "replica": replica,
        "overwritten": 0,
    }


def stored_of(row: Row[Any]) -> StoredFeedback:
    """What a row of the table says."""
    fields = {name: row._mapping[name] for name in StoredFeedback.__dataclass_fields__}
    return StoredFeedback(**fields | {"curve": tuple(np.frombuffer(row.curve, CURVE).tolist())})
