"""Regularisers by name: what is added to the cross-entropy. A new one is a class in a file of its own and a line here."""

from __future__ import annotations

from training.regularizers.base import Regularizer, RunSetting, StepOutput, Term
from training.regularizers.dor import DynamicOutlierRegularization
from training.regularizers.kgcoop import KgCoOp

REGULARIZERS: dict[str, type[Regularizer]] = {
    "kgcoop": KgCoOp,
    "dor": DynamicOutlierRegularization,
}

__all__ = ["REGULARIZERS", "DynamicOutlierRegularization", "KgCoOp", "Regularizer", "RunSetting", "StepOutput", "Term"]
