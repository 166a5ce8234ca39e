"""Receipts and feedback as tests need them."""

from __future__ import annotations

from typing import Any

from service.feedback.receipt import Receipt
from service.feedback.store import Feedback

CURVE = (0.5, 0.25, -1.0)


def receipt(id_: str, confidence: float = 0.73, **more: Any) -> Receipt:
    fields = {"issued": 100.0, "artifact": "a", "scope": "new", "label": "cat", "known": "true", "multiplier": 2.5}
    fields |= {"gamma": None, "curve": CURVE, "labels": b""}
    return Receipt(id=id_, confidence=confidence, **fields | more)


def told(id_: str, label: str = "cat", outcome: str = "correct", at: float = 200.0, **more: Any) -> Feedback:
    return Feedback(receipt(id_, **more), label, outcome, at)  # type: ignore[arg-type]
