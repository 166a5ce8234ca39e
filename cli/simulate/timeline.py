"""What Prometheus saw of a simulation, on one time axis, and whether the story is the one that was promised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from candor.clip.artifact import SCOPES
from cli.prometheus import Labels, Series, query_range

DRIFT, OVERCONFIDENT = "CandorConfidenceDrift", "CandorOverconfidentOnNew"
OF_THE_MACHINE = ("CandorFeedbackStoreDown", "CandorSlow", "CandorErrors", "CandorDown")  # say nothing of confidence
SHIFT, LABELS, CALIBRATED, ACTIVATED = "shift", "first label of a shifted picture", "calibrated", "activated"
# What is recorded of each scope, without the window's suffix.
FIGURES = {
    "ece": 'candor:ece:ratio{window}{{bins="10"}}',
    "ece_floor": 'candor:ece_floor:ratio{window}{{bins="10"}}',
    "gap": "candor:gap:ratio{window}",
    "gap_floor": "candor:gap_floor:ratio{window}",
    "psi": "candor:psi:ratio{window}",
    "psi_floor": "candor:psi_floor:ratio{window}",
    "accuracy": "candor:accuracy:ratio{window}",
    "confidence": "candor:confidence:mean{window}",
    "predictions": "candor:predictions:increase{window}",
    "feedback": "candor:feedback:increase{window}",
}


@dataclass(frozen=True)
class Phase:
    """A part of the story.

    Attributes:
        name: of it.
        start: seconds since the beginning.
        end: seconds since the beginning.
    """

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Firing:
    """An alert that was pending or firing without a break.

    Attributes:
        name: of its rule.
        state: "pending" or "firing".
        labels: artifact and scope, where it has them.
        start: seconds since the beginning.
        end: the last time it was seen.
    """

    name: str
    state: str
    labels: Labels
    start: float
    end: float


@dataclass
class Timeline:
    """All that was seen.

    Attributes:
        setting: how the simulation was run.
        marks: when something was done or seen, in seconds since the beginning.
        phases: in order of time.
        series: points of each figure, by its name.
        alerts: in order of their start.
        end: seconds since the beginning.
        calibration: what `candor calibrate` said.
        traffic: what the callers counted.
    """

    setting: dict[str, Any]
    marks: dict[str, float]
    phases: list[Phase]
    series: dict[str, list[Series]]
    alerts: list[Firing]
    end: float
    calibration: dict[str, Any] = field(default_factory=dict)
    traffic: dict[str, Any] = field(default_factory=dict)

    def firing(self, name: str) -> list[Firing]:
        """When an alert fired."""
        return [each for each in self.alerts if each.name == name and each.state == "firing"]

    def figure(self, name: str, artifact: str, scope: str, time: float, least: float = 0.0) -> float | None:
        """The last value of a figure up to a time, and not before `least`; None where there is none."""
        for series in self.series[name]:
            if (series.labels["artifact"], series.labels["scope"]) == (artifact, scope):
                values = [value for when, value in series.points if least <= when <= time and math.isfinite(value)]
                return values[-1] if values else None
        return None

    def table(self) -> list[dict[str, Any]]:
        """The figures at the end of each phase, for every artifact and scope that has some within it."""
        artifacts = [self.setting["artifact"], self.setting.get("healed")]
        return [
            {"phase": phase.name, "artifact": artifact, "scope": scope} | values
            for phase in self.phases
            for artifact in artifacts
            for scope in SCOPES
            if artifact is not None and any((values := self._at(artifact, scope, phase.end)).values())
        ]

    def _at(self, artifact: str, scope: str, time: float) -> dict[str, float | None]:
        recent = time - 3  # a series that has ended says nothing of the phase
        return {name: self.figure(name, artifact, scope, time, recent) for name in self.series}

    def to_json(self) -> dict[str, Any]:
        """As written to timeline.json; what is not finite is null."""
        return {
            "setting": self.setting,
            "marks": self.marks,
            "phases": [asdict(phase) for phase in self.phases],
            "checks": checks(self),
            "table": self.table(),
            "alerts": [asdict(each) for each in self.alerts],
            "calibration": self.calibration,
            "traffic": self.traffic,
            "end": self.end,
            "series": {name: [_plain(each) for each in found] for name, found in self.series.items()},
        }


def checks(timeline: Timeline) -> dict[str, bool]:
    """Whether each part of the story came true.

    - quiet before: no alert about confidence fires before the shift.
    - drift first: the drift alert fires after the shift, and before a true label of a shifted picture was sent.
    - over-confident then: that alert fires, but not before such a label.
    - ECE down: what it has above its noise floor is, in both scopes, less than half of what it was before the activation.
    - resolved: neither alert fires at the end.
    """
    marks, end = timeline.marks, timeline.end
    shift, labels, activated = (marks.get(name, math.inf) for name in (SHIFT, LABELS, ACTIVATED))
    about_confidence = [a for a in timeline.alerts if a.state == "firing" and a.name not in OF_THE_MACHINE]
    fired = {name: timeline.firing(name) for name in (DRIFT, OVERCONFIDENT)}
    drift, overconfident = (min((alert.start for alert in found), default=math.inf) for found in fired.values())
    return {
        "quiet before": shift < math.inf and all(alert.start >= shift for alert in about_confidence),
        "drift first": shift < drift < labels,
        "over-confident then": labels < overconfident < math.inf,
        "ECE down": activated < math.inf and all(_halved(timeline, scope, activated) for scope in SCOPES),
        "resolved": all(found and all(alert.end < end - 2 for alert in found) for found in fired.values()),
    }


def _halved(timeline: Timeline, scope: str, activated: float) -> bool:
    healed = str(timeline.setting["healed"])
    before = _excess(timeline, timeline.setting["artifact"], scope, activated)
    after = _excess(timeline, healed, scope, timeline.end)
    return before is not None and after is not None and before > 0 and after < before / 2


def _excess(timeline: Timeline, artifact: str, scope: str, time: float) -> float | None:
    """ECE above what chance alone would show."""
    ece, floor = (timeline.figure(name, artifact, scope, time) for name in ("ece", "ece_floor"))
    return None if ece is None or floor is None else ece - floor


def recorded(url: str, window: str, start: float, end: float) -> tuple[dict[str, list[Series]], list[Firing]]:
    """The figures and alerts of a stretch of time, as Prometheus recorded them.

    Args:
        url: of Prometheus.
        window: that the figures look back over.
        start: unix time in seconds.
        end: unix time in seconds.

    Returns:
        Points of each figure and the alerts, in seconds since `start`.
    """
    series = {
        name: [_since(each, start) for each in query_range(url, expression.format(window=window), start, end)]
        for name, expression in FIGURES.items()
    }
    return series, firings(_since(each, start) for each in query_range(url, "ALERTS", start, end))


def firings(series: Iterable[Series], step: float = 1.0) -> list[Firing]:
    """Unbroken stretches of series that are there while an alert is."""
    found = []
    for each in series:
        times = [when for when, _ in each.points]
        breaks = [i for i in range(1, len(times)) if times[i] - times[i - 1] > 1.5 * step]
        labels: Labels = {name: each.labels[name] for name in ("artifact", "scope") if name in each.labels}
        for first, last in zip([0, *breaks], [*breaks, len(times)], strict=True):
            found.append(Firing(each.labels["alertname"], each.labels["alertstate"], labels, times[first], times[last - 1]))
    return sorted(found, key=lambda alert: (alert.start, alert.name, alert.state))


def _since(series: Series, start: float) -> Series:
    return Series(series.labels, tuple((round(when - start, 3), value) for when, value in series.points))


def _plain(series: Series) -> dict[str, Any]:
    keep: Mapping[str, str] = {name: series.labels[name] for name in ("artifact", "scope")}
    return {**keep, "points": [[when, value if math.isfinite(value) else None] for when, value in series.points]}
