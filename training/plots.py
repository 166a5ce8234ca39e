"""Plots of evaluations, as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from candor.calibration import scores
from candor.calibration.bins import ReliabilityBins


def reliability_diagrams(path: Path, rows: dict[str, dict[str, ReliabilityBins]], title: str) -> None:
    """A reliability diagram for each classifier (columns) and scope (rows): accuracy in bars, the gap to confidence red.

    Args:
        path: PNG file to write.
        rows: classifier -> scope -> bins.
        title: over all.
    """
    scopes = list(next(iter(rows.values())))
    figure = Figure(figsize=(3.1 * len(rows), 3.2 * len(scopes) + 0.4), layout="constrained")
    axes = figure.subplots(len(scopes), len(rows), squeeze=False, sharex=True, sharey=True)
    for column, (name, by_scope) in enumerate(rows.items()):
        for row, scope in enumerate(scopes):
            _diagram(axes[row][column], by_scope[scope], f"{name}, {scope}")
    for row in axes:
        row[0].set_ylabel("accuracy")
    for axis in axes[-1]:
        axis.set_xlabel("confidence")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def _diagram(axis: Axes, bins: ReliabilityBins, title: str) -> None:
    width = 1 / len(bins.count)
    left = np.arange(len(bins.count)) * width
    n = np.maximum(bins.count, 1)
    accuracy, confidence = bins.correct / n, bins.confidence / n
    axis.bar(left, accuracy, width, align="edge", color="#4477aa", edgecolor="white", label="accuracy")
    axis.bar(left, confidence - accuracy, width, accuracy, align="edge", color="#cc3311", alpha=0.45, label="gap")
    axis.bar(
        left, 0.25 * bins.count / max(bins.total, 1), width, align="edge", color="black", alpha=0.35, label="share / 4"
    )
    axis.plot([0, 1], [0, 1], color="0.4", linewidth=1, linestyle="--")
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.set_title(title, fontsize=10)
    axis.text(
        0.04,
        0.95,
        f"ECE {scores.ece(bins):.1%}\nacc {scores.accuracy(bins):.1%}\nconf {scores.mean_confidence(bins):.1%}",
        transform=axis.transAxes,
        va="top",
        fontsize=8,
    )
