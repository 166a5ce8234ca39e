"""One alert, and the windows that alerts look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from monitoring.durations import INTERVAL, WINDOWS, duration, seconds

RUNBOOKS = "docs/runbooks"


@dataclass(frozen=True)
class Alert:
    """An alert rule.

    Attributes:
        name: of the alert and of its runbook.
        expr: PromQL; it fires for each series there is.
        hold: how long the series must be there, before it fires.
        severity: critical wakes somebody; warning waits for the morning.
        summary: one line.
        description: what was seen, with its values, and what it means.
    """

    name: str
    expr: str
    hold: str
    severity: Literal["critical", "warning"]
    summary: str
    description: str

    def to_dict(self, runbooks: str = RUNBOOKS) -> dict[str, object]:
        """As Prometheus's rule files have it.

        Args:
            runbooks: address of the folder of runbooks.
        """
        annotations = {
            "summary": self.summary,
            "description": self.description,
            "runbook_url": f"{runbooks.rstrip('/')}/{self.name}.md",
        }
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.hold,
            "labels": {"severity": self.severity},
            "annotations": annotations,
        }


@dataclass(frozen=True)
class AlertTimes:
    """What alerts look at, and how patient they are. All but `requests`, `hold` and `soon` are windows of recording rules.

    Attributes:
        recent: whether an artifact still answers, and how many unknown images there are now.
        scored: calibration and drift.
        lately: feedback now.
        usual: what feedback and unknown images are held against.
        requests: errors and slowness.
        hold: before a statistic becomes an alert.
        soon: before trouble of the service becomes one.
    """

    recent: str = "1h"
    scored: str = "6h"
    lately: str = "1d"
    usual: str = "7d"
    requests: str = "5m"
    hold: str = "15m"
    soon: str = "5m"

    @classmethod
    def of(cls, windows: Sequence[str] = WINDOWS, interval: str = INTERVAL) -> AlertTimes:
        """Those that fit the recording rules; the defaults for the default ones.

        Args:
            windows: of the rules, from the shortest.
            interval: between evaluations: the alerts wait 30 or 10 of them, and requests are looked at over 10.
        """
        ten, thirty = (duration(n * seconds(interval)) for n in (10, 30))
        scored, lately = (windows[1], windows[-2]) if len(windows) > 1 else (windows[0], windows[0])
        return cls(windows[0], scored, lately, windows[-1], ten, thirty, ten)
