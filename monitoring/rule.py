"""One recording rule, and the pieces of PromQL that rules share."""

from __future__ import annotations

from dataclasses import dataclass, field

from candor.calibration.limits import LEAST

N_BINS = 20  # of confidence, as the service counts them
LIFETIME = "lifetime"  # in place of a window: all that the instances scraped now have counted since they started

SUM = "sum by (artifact, scope)"
ON = "on (artifact, scope)"


@dataclass(frozen=True)
class Rule:
    """A recording rule.

    Attributes:
        record: name of the recorded series, `level:what:unit` and the window.
        expr: PromQL.
        labels: added to the recorded series.
    """

    record: str
    expr: str
    labels: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """As Prometheus's rule files have it."""
        return {"record": self.record, "expr": self.expr} | ({"labels": self.labels} if self.labels else {})


def increase(counter: str, window: str) -> str:
    """What a counter grew by within a window, for each of its series; `LIFETIME` gives the counter itself."""
    return counter if window == LIFETIME else f"increase({counter}[{window}])"


def at_least(count: str, least: int = LEAST) -> str:
    """A count, absent below `least`: guards a division against 0/0 and a figure against too little evidence."""
    return f"({count} >= {least})"
