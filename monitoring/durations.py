"""Prometheus's durations, such as 30s or 7d, and the windows that the rules look back over."""

from __future__ import annotations

import re
from collections.abc import Sequence

from candor.errors import InvalidInput

WINDOWS = ("1h", "6h", "1d", "7d")
INTERVAL = "30s"

_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}  # largest first
_LOOKBACK = 300  # seconds that Prometheus looks back for a sample
_LONGEST = 2 * _LOOKBACK // 5  # seconds between evaluations: one may be late, and still no gap is seen
_EVALUATIONS = 5_000  # more in one window show nothing that fewer do not


def seconds(duration: str) -> int:
    """Seconds of a duration, a whole number with one unit of s, m, h, d or w.

    Raises:
        InvalidInput: it is none, or not above 0.
    """
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", duration)
    if match is None or int(match[1]) == 0:
        raise InvalidInput(f"{duration[:40]!r} is no duration; write a whole number and s, m, h, d or w, such as 30s or 7d")
    return int(match[1]) * _SECONDS[match[2]]


def duration(length: int) -> str:
    """A duration of so many seconds, in the largest unit that divides it."""
    unit = next(unit for unit, size in _SECONDS.items() if unit != "w" and length % size == 0)
    return f"{length // _SECONDS[unit]}{unit}"


def check_windows(windows: Sequence[str], interval: str) -> tuple[str, ...]:
    """The windows, seen to be durations that grow.

    Raises:
        InvalidInput: there is none, one is no duration, they do not grow, or the shortest is shorter than four intervals
            and would hold too few samples to tell an increase from, or the interval is above two minutes.
    """
    lengths = [seconds(window) for window in windows]
    if seconds(interval) > _LONGEST:
        raise InvalidInput(f"an interval of {interval} is too long; Prometheus looks back 5m, so take 2m or less")
    if not lengths:
        raise InvalidInput("give at least one window, such as 1h")
    if sorted(set(lengths)) != lengths:
        raise InvalidInput(f"windows must grow, got {','.join(windows)}")
    if lengths[0] < 4 * seconds(interval):
        raise InvalidInput(f"the shortest window, {windows[0]}, must be at least four intervals of {interval}")
    return tuple(windows)


def evaluated_every(window: str, interval: str) -> str:
    """How often the rules of a window are evaluated: each interval, but a window of days less often, for it costs more.

    Never so seldom that Prometheus, which looks back five minutes for a sample, would see a gap.
    """
    least = seconds(interval)
    return duration(max(least, min(seconds(window) // _EVALUATIONS, _LONGEST)))
