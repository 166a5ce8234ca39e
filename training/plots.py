"""Plots of evaluations and of training, as PNG files. Each function also returns the figure it saved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from candor.calibration import scores
from candor.calibration.bins import ReliabilityBins
from candor.clip.artifact import SCOPES
from candor.errors import InvalidInput

DPI = 110
# Paul Tol's "bright" and "vibrant" sets: told apart in the common colour blindnesses; markers tell them apart again.
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")
ACCURACY, GAP, COUNT = "#4477aa", "#cc3311", "#888888"
CORRECT, WRONG = "#4477aa", "#ee7733"
BOX = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1.5}
HISTOGRAM_BINS = 20
FAINT_ALPHA = 0.35
LEGEND: dict[str, Any] = {"loc": "outside lower center", "fontsize": 9, "frameon": False}
FAINT = 0.01  # a bin with a smaller share of the predictions is drawn faintly: its accuracy is mostly chance
LABELS = {
    "cross_entropy_loss": "cross-entropy loss (nats)",
    "fd": "FD (Euclidean distance)",
    "text_deviation": "text deviation (1 - cosine)",
    "val_accuracy": "validation accuracy (fraction)",
    "val_ece": "validation ECE (fraction)",
    "learning_rate": "learning rate",
}

Predictions = tuple[NDArray[np.float64], NDArray[np.bool_]]


def reliability_diagrams(path: Path, rows: Mapping[str, Mapping[str, ReliabilityBins]], title: str) -> Figure:
    """A reliability diagram for each classifier (columns) and scope (rows), its share of predictions a bin below it.

    Bars are accuracy; the hatched part between accuracy and confidence is the gap. ECE is the mean gap, weighted by the
    share. A bin with less than 1 % of the predictions is faint.

    Args:
        path: PNG file to write.
        rows: classifier -> scope -> bins; a scope that a classifier lacks stays blank.
        title: over all.
    """
    scopes = _scopes(rows)
    figure = Figure(figsize=(max(2.9 * len(rows), 4) + 0.4, 3.8 * len(scopes) + 0.8), layout="constrained")
    ratios = [3.6, 1] * len(scopes)
    axes = figure.subplots(2 * len(scopes), len(rows), squeeze=False, sharex=True, sharey="row", height_ratios=ratios)
    for column, (name, by_scope) in enumerate(rows.items()):
        for row, scope in enumerate(scopes):
            top, bottom = axes[2 * row][column], axes[2 * row + 1][column]
            top.set_title(f"{_short(name)}, {scope}", fontsize=10)
            if scope in by_scope and by_scope[scope].total:
                _diagram(top, bottom, by_scope[scope])
            else:
                top.text(0.5, 0.5, "no images", ha="center", color="0.4")
    for row in range(len(scopes)):
        axes[2 * row][0].set_ylabel("accuracy (fraction)")
        axes[2 * row + 1][0].set_ylabel("share")
        axes[2 * row + 1][0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes[2 * row + 1][0].yaxis.set_major_locator(MaxNLocator(3))
    for axis in axes[-1]:
        axis.set(xlim=(0, 1), xlabel="confidence (fraction)")
    _reliability_legend(figure, 2 if len(rows) == 1 else 4)
    return _save(figure, path, title)


def _diagram(top: Axes, bottom: Axes, bins: ReliabilityBins) -> None:
    width = 1 / len(bins.count)
    left = np.arange(len(bins.count)) * width
    n = np.maximum(bins.count, 1)
    accuracy, confidence = bins.correct / n, bins.confidence / n
    top.plot([0, 1], [0, 1], color="0.3", linewidth=1, linestyle="--", zorder=3)
    right = top.bar(left, accuracy, width, align="edge", color=ACCURACY, edgecolor="white")
    gap = top.bar(left, confidence - accuracy, width, accuracy, align="edge", color="none", edgecolor=GAP, hatch="////")
    for bar, hatched, share in zip(right, gap, bins.count / bins.total, strict=True):
        if share < FAINT:
            bar.set_alpha(FAINT_ALPHA)
            hatched.set(alpha=FAINT_ALPHA, visible=share > 0)
    top.set(ylim=(0, 1))
    figures = (
        f"ECE {scores.ece(bins):.1%}\naccuracy {scores.accuracy(bins):.1%}\nconfidence {scores.mean_confidence(bins):.1%}"
    )
    top.text(0.04, 0.96, f"{figures}\nn {bins.total:,.0f}", transform=top.transAxes, va="top", fontsize=8, bbox=BOX)
    bottom.bar(left, bins.count / bins.total, width, align="edge", color=COUNT, edgecolor="white")


def _reliability_legend(figure: Figure, columns: int) -> None:
    handles = [
        Line2D([], [], color="0.3", linewidth=1, linestyle="--", label="perfectly calibrated"),
        Patch(facecolor=ACCURACY, label="accuracy"),
        Patch(facecolor="none", edgecolor=GAP, hatch="////", label="gap"),
        Patch(facecolor=ACCURACY, alpha=FAINT_ALPHA, label=f"under {FAINT:.0%} of images"),
    ]
    figure.legend(handles=handles, **LEGEND, ncols=columns)


def confidence_histograms(path: Path, rows: Mapping[str, Mapping[str, Predictions]], title: str) -> Figure:
    """How sure each classifier (columns) was in each scope (rows) where it was right, and where it was wrong.

    Args:
        path: PNG file to write.
        rows: classifier -> scope -> (confidence (N,), correct (N,)).
        title: over all.
    """
    scopes = _scopes(rows)
    figure = Figure(figsize=(max(2.9 * len(rows), 4) + 0.4, 2.6 * len(scopes) + 0.8), layout="constrained")
    axes = figure.subplots(len(scopes), len(rows), squeeze=False, sharex=True, sharey=True)
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    for column, (name, by_scope) in enumerate(rows.items()):
        for axis, scope in zip(axes[:, column], scopes, strict=True):
            axis.set_title(f"{_short(name)}, {scope}", fontsize=10)
            confidence, correct = by_scope.get(scope, (np.empty(0), np.empty(0, bool)))
            total = max(len(confidence), 1)
            right, wrong = (np.histogram(confidence[chosen], edges)[0] / total for chosen in (correct, ~correct))
            axis.bar(edges[:-1], right, edges[1], align="edge", color=CORRECT, edgecolor="white", label="right")
            axis.bar(
                edges[:-1],
                wrong,
                edges[1],
                right,
                align="edge",
                color=WRONG,
                edgecolor="white",
                hatch="////",
                label="wrong",
            )
    for row in axes:
        row[0].set_ylabel("share of images")
        row[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axis in axes[-1]:
        axis.set(xlim=(0, 1), xlabel="confidence (fraction)")
    _legend_below(figure)
    return _save(figure, path, title)


def ece_scatter(path: Path, points: Mapping[str, Sequence[tuple[float, float]]], title: str) -> Figure:
    """ECE on base against ECE on new classes: a small dot a run, a large one the mean of each classifier.

    Near the origin is good; above the diagonal a classifier is less calibrated on new classes than on base classes.

    Args:
        path: PNG file to write.
        points: classifier -> (base ECE, new ECE) of each of its runs, as fractions.
        title: over all.
    """
    figure = Figure(figsize=(7.4, 4.8), layout="constrained")
    axis = figure.subplots()
    limit = 1.12 * max([0.01, *(value for pairs in points.values() for pair in pairs for value in pair)])
    axis.plot([0, limit], [0, limit], color="0.5", linewidth=1, linestyle="--", label="base = new")
    for number, (name, pairs) in enumerate(points.items()):
        base, new = np.array(pairs, np.float64).T
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        if len(pairs) > 1:
            axis.scatter(base, new, s=18, color=colour, marker=marker, alpha=0.45, linewidths=0)
        axis.scatter(
            base.mean(), new.mean(), s=90, color=colour, marker=marker, edgecolor="black", label=_short(name), zorder=3
        )
    axis.set(
        xlim=(0, limit),
        ylim=(0, limit),
        aspect="equal",
        xlabel="ECE on base classes (percent)",
        ylabel="ECE on new classes (percent)",
    )
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(MaxNLocator(6))
        side.set_major_formatter(PercentFormatter(1, decimals=None))
    axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=9, frameon=False)
    return _save(figure, path, title)


def training_curves(path: Path, histories: Mapping[str, Sequence[Mapping[str, float]]], title: str) -> Figure:
    """What changed over training: a panel a quantity (each loss term, FD, text deviation, ...), a line a run.

    Args:
        path: PNG file to write.
        histories: run -> one dict an epoch, as the training loop keeps it; keys may differ between runs and epochs.
        title: over all.

    Raises:
        InvalidInput: there is no epoch in any run.
    """
    names = list(dict.fromkeys(name for history in histories.values() for epoch in history for name in epoch))
    if not names:
        raise InvalidInput("no training history to draw")
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(4.0 * columns, 2.7 * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=False):
        for number, (run, history) in enumerate(histories.items()):
            known = [(e, values[name]) for e, values in enumerate(history, 1) if name in values]
            if known:
                style = {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]}
                marker = "o" if len(known) == 1 else None
                axis.plot(*zip(*known, strict=True), linewidth=1.6, marker=marker, label=_short(run), **style)
        axis.set(xlabel="epoch", ylabel=LABELS.get(name, name.replace("_", " ")))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
        axis.grid(color="0.9")
    for unused in axes[len(names) :]:
        unused.remove()
    _legend_below(figure)
    return _save(figure, path, title)


def _scopes(rows: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Scopes that any classifier has, base before new."""
    if not any(rows.values()):
        raise InvalidInput("nothing to draw: no classifier was given any result")
    found = {scope for by_scope in rows.values() for scope in by_scope}
    return [*(s for s in SCOPES if s in found), *sorted(found.difference(SCOPES))]


def _short(name: str, width: int = 26) -> str:
    return name if len(name) <= width else f"{name[: width // 2 - 1]}…{name[-(width // 2) :]}"


def _legend_below(figure: Figure) -> None:
    """One legend for all panels: each label once, wherever it was drawn."""
    drawn = (zip(*axis.get_legend_handles_labels(), strict=True) for axis in figure.get_axes())
    found = {label: artist for pairs in drawn for artist, label in pairs}
    columns = min(4, len(found))
    figure.legend(found.values(), found.keys(), **LEGEND, ncols=columns)


def _save(figure: Figure, path: Path, title: str) -> Figure:
    figure.suptitle(title, wrap=True)
    figure.savefig(path, dpi=DPI)
    return figure
