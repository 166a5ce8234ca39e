"""Graphs of a simulation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from candor.calibration.limits import PSI_LIMIT
from candor.clip.artifact import SCOPES
from cli.prometheus import Series
from cli.simulate.timeline import OF_THE_MACHINE, Timeline
from monitoring.alerts import GAP

DPI = 100
COLOURS = {"base": "#4477aa", "new": "#ee6677"}
STATES = {"pending": "#ddaa33", "firing": "#bb2222"}
SHADES = ("#ffffff", "#eeeeee")
BREAK = 3.0  # seconds without a point, after which a line is not drawn through


def draw(folder: Path, timeline: Timeline) -> list[Path]:
    """Write drift.png and calibration.png.

    Args:
        folder: to write to.
        timeline: of a simulation.

    Returns:
        Their paths.
    """
    drift = _figure(
        timeline,
        (("psi", "psi_floor", "PSI of confidence", (PSI_LIMIT,)), ("confidence", None, "mean confidence", ())),
        "Drift: what is seen without a label",
    )
    calibration = _figure(
        timeline,
        (("ece", "ece_floor", "ECE (10 bins)", ()), ("gap", "gap_floor", "confidence - accuracy", (GAP,))),
        "Calibration: what labels say",
    )
    paths = [folder / "drift.png", folder / "calibration.png"]
    for path, figure in zip(paths, (drift, calibration), strict=True):
        figure.savefig(path, dpi=DPI)
    return paths


def _figure(timeline: Timeline, panels: Sequence[tuple[str, str | None, str, Sequence[float]]], title: str) -> Figure:
    figure = Figure(figsize=(9, 2.6 * len(panels) + 1.9), layout="constrained")
    axes = figure.subplots(len(panels) + 1, 1, sharex=True, height_ratios=[2.6] * len(panels) + [1.2])
    for axis, (name, floor, label, limits) in zip(axes, panels, strict=False):
        _panel(axis, timeline, name, floor)
        axis.set_ylabel(label)
        for limit in limits:
            axis.axhline(limit, color="0.4", linewidth=0.9, linestyle=":")
    _alerts(axes[-1], timeline)
    for axis in axes:
        _phases(axis, timeline)
    for phase in timeline.phases:
        middle = _hours(timeline, (phase.start + phase.end) / 2)
        axes[0].annotate(phase.name, (middle, 1.02), xycoords=("data", "axes fraction"), ha="center", fontsize=9)
    axes[-1].set(xlabel="simulated hours", xlim=(0, _hours(timeline, timeline.end)))
    figure.suptitle(title, fontsize=11)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    return figure


def _panel(axis: Axes, timeline: Timeline, name: str, floor: str | None) -> None:
    """A line each artifact and scope; below it, shaded, what chance alone would show."""
    for series in timeline.series[name]:
        scope, healed = series.labels["scope"], series.labels["artifact"] == timeline.setting.get("healed")
        for part in _unbroken(series):
            x, y = [_hours(timeline, when) for when, _ in part], [value for _, value in part]
            axis.plot(x, y, color=COLOURS[scope], linestyle="--" if healed else "-", linewidth=1.6)
    for series in timeline.series[floor] if floor else ():
        for part in _unbroken(series):
            x, y = [_hours(timeline, when) for when, _ in part], [value for _, value in part]
            axis.fill_between(x, 0, y, color=COLOURS[series.labels["scope"]], alpha=0.15, linewidth=0)
    if name == "gap":
        axis.axhline(0, color="0.6", linewidth=0.8)
    else:
        axis.set_ylim(bottom=0)


def _alerts(axis: Axes, timeline: Timeline) -> None:
    """A row an alert, yellow while it is pending and red while it fires."""
    shown = [alert for alert in timeline.alerts if alert.name not in OF_THE_MACHINE]
    names = list(dict.fromkeys(alert.name for alert in shown))
    for alert in sorted(shown, key=lambda each: each.state != "pending"):
        start, end = _hours(timeline, alert.start), _hours(timeline, alert.end + 1)
        axis.barh(names.index(alert.name), end - start, left=start, height=0.6, color=STATES[alert.state])
    axis.set_yticks(range(len(names)), [name.removeprefix("Candor") for name in names], fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5) if names else axis.set_yticks([])


def _phases(axis: Axes, timeline: Timeline) -> None:
    for number, phase in enumerate(timeline.phases):
        axis.axvspan(_hours(timeline, phase.start), _hours(timeline, phase.end), color=SHADES[number % 2], zorder=-2)
    for when in timeline.marks.values():
        axis.axvline(_hours(timeline, when), color="0.5", linewidth=0.7, zorder=-1)


def _legend() -> list[Line2D]:
    scopes = [Line2D([], [], color=COLOURS[scope], label=f"{scope} labels") for scope in SCOPES]
    healed = Line2D([], [], color="0.3", linestyle="--", label="after calibrate --from-feedback")
    chance = Line2D([], [], color="0.8", linewidth=7, label="chance alone")
    limit = Line2D([], [], color="0.4", linestyle=":", label="alert's limit")
    return [*scopes, healed, chance, limit]


def _unbroken(series: Series) -> list[list[tuple[float, float]]]:
    parts: list[list[tuple[float, float]]] = []
    for point in series.points:
        if not parts or point[0] - parts[-1][-1][0] > BREAK:
            parts.append([])
        parts[-1].append(point)
    return parts


def _hours(timeline: Timeline, seconds: float) -> float:
    return seconds * float(timeline.setting["compress"]) / 3600
