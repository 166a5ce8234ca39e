"""Tuning methods by name: CoOp's cross-entropy and the regularisers that are added to it, such as "coop+dor"."""

from __future__ import annotations

from candor.errors import InvalidInput
from training.config import TrainConfig
from training.regularizers import REGULARIZERS

PLAIN = "coop"
METHODS = ("coop", "kgcoop", "coop+dor", "kgcoop+dor")  # the published ones; any other sum of regularisers is valid too


def parts_of(method: str) -> tuple[str, ...]:
    """The regularisers that a method's name adds up: "coop+dor" and "dor" are ("dor",), "kgcoop+dor" is both.

    Raises:
        InvalidInput: a part is no regulariser, or stands there twice.
    """
    parts = tuple(part for place, part in enumerate(method.split("+")) if (place, part) != (0, PLAIN))
    unknown = [part for part in parts if part not in REGULARIZERS]
    if unknown or len(set(parts)) < len(parts):
        raise InvalidInput(
            f"unknown method {method!r}; valid: {', '.join(METHODS)}, or coop+ any of {', '.join(REGULARIZERS)}, each once"
        )
    return parts


def method_weights(method: str, overrides: dict[str, float]) -> dict[str, float]:
    """Weight of each regulariser of a method: the published one, or the caller's.

    Raises:
        InvalidInput: no such method, or a weight for a regulariser that it does not have.
    """
    parts = parts_of(method)
    weights = {}
    for part in parts:
        beside_others = REGULARIZERS[part].weight_with_others if len(parts) > 1 else None
        weights[part] = REGULARIZERS[part].weight if beside_others is None else beside_others
    unknown = set(overrides) - set(weights)
    if unknown:
        raise InvalidInput(f"method {method!r} has no regulariser {', '.join(sorted(unknown))}; it has {weights}")
    return weights | overrides


def check_method(method: str, config: TrainConfig) -> dict[str, float]:
    """Weight of each regulariser of a run, after seeing that its settings go together; before any long work.

    Raises:
        InvalidInput: as `method_weights`; or outliers for a context that knows no name but its own.
    """
    weights = method_weights(method, config.weights)
    if config.learner.class_specific and needs_outliers(method):
        raise InvalidInput(f"method {method!r} encodes outliers, which a class_specific context cannot")
    return weights


def needs_outliers(method: str) -> bool:
    """Whether a regulariser of the method draws on the vocabulary."""
    return any(REGULARIZERS[part].needs_outliers for part in parts_of(method))
