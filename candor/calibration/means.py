"""Base and new in one number."""

from __future__ import annotations

import math


def plain_mean(base: float, new: float) -> float:
    """(base + new) / 2: what the DOR paper prints under "HM".

    Args:
        base: a figure on base classes.
        new: the same figure on new classes.

    Returns:
        In the unit of the figure; NaN where one of the two is.
    """
    return (base + new) / 2


def harmonic_mean(base: float, new: float) -> float:
    """2 / (1 / base + 1 / new): the true harmonic mean, nearer to the smaller of the two.

    Made for figures where more is better, such as accuracy: of two errors it hides the larger.

    Args:
        base: a figure on base classes, 0 or more.
        new: the same figure on new classes, 0 or more.

    Returns:
        In the unit of the figure, between the two; 0 where one is 0; NaN where one is NaN or below 0 (a signed figure such
        as the gap has no harmonic mean).
    """
    if math.isnan(base) or math.isnan(new) or min(base, new) < 0:
        return float("nan")
    if base == new:
        return base
    low, high = min(base, new), max(base, new)
    return 2 * low / (1 + low / high)
