"""What the bench finds: figures beside their baselines and targets."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        section: what it belongs to.
        name: what was measured, and against what.
        value: the figure.
        unit: "s", "bytes", or "" for a share, a ratio or a difference.
        baseline: the same of the other way, in the same unit and from the same process; None where there is no other way.
        least_times: target for `times`.
        most: target for `value`.
        least: target for `value`.
        parity: whether both ways must agree here: the target is then no wish, and missing it fails the bench.
    """

    section: str
    name: str
    value: float
    unit: str = "s"
    baseline: float | None = None
    least_times: float | None = None
    most: float | None = None
    least: float | None = None
    parity: bool = False

    @property
    def times(self) -> float | None:
        """Baseline / value: how many times as fast, or as small."""
        return None if self.baseline is None else self.baseline / self.value

    @property
    def met(self) -> bool | None:
        """Whether it reaches its targets; None where it has none. NaN reaches none."""
        reached = []
        if self.least_times is not None:
            reached.append(self.times is not None and self.times >= self.least_times)
        if self.most is not None:
            reached.append(self.value <= self.most)
        if self.least is not None:
            reached.append(self.value >= self.least)
        return all(reached) if reached else None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"times": self.times, "met": self.met}


def parity(section: str, name: str, difference: float, tolerance: float) -> Figure:
    """A difference between two ways that must compute the same."""
    return Figure(section, name, difference, unit="", most=tolerance, parity=True)
