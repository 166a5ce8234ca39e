"""Tuning methods: which regularisers each adds to the cross-entropy, and their published weights."""

from __future__ import annotations

from candor.errors import InvalidInput

METHODS: dict[str, dict[str, float]] = {
    "coop": {},
    "kgcoop": {"kgcoop": 8.0},
    "coop+dor": {"dor": 8.0},
    "kgcoop+dor": {"kgcoop": 8.0, "dor": 2.0},
}


def method_weights(method: str, overrides: dict[str, float]) -> dict[str, float]:
    """Weight of each regulariser of a method.

    Raises:
        InvalidInput: no such method, or a weight for a regulariser that it does not have.
    """
    if method not in METHODS:
        raise InvalidInput(f"unknown method {method!r}; valid: {', '.join(METHODS)}")
    unknown = set(overrides) - set(METHODS[method])
    if unknown:
        raise InvalidInput(f"method {method!r} has no regulariser {', '.join(sorted(unknown))}; it has {METHODS[method]}")
    return METHODS[method] | overrides
