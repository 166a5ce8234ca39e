"""Plots are real PNG files, and what they draw is what they were given."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from candor.calibration import ReliabilityBins
from candor.errors import InvalidInput
from training.plots import DPI, confidence_histograms, ece_scatter, reliability_diagrams, training_curves

LEGEND = ["perfectly calibrated", "accuracy", "gap", "under 1% of images"]


def bins(confidence: list[float], correct: list[int]) -> ReliabilityBins:
    return ReliabilityBins.of(confidence, correct)


def heights(axis: Axes, number: int) -> list[float]:
    return [round(bar.get_height(), 6) for bar in axis.containers[number]]


def assert_png(path: Path, inches: tuple[float, float]) -> None:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:]) == tuple(int(side * DPI) for side in inches)
    with Image.open(path) as image:
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 10  # something was drawn


def test_a_reliability_diagram_shows_accuracy_gap_and_share(tmp_path: Path) -> None:
    base = bins([0.95, 0.95, 0.95, 0.55], [1, 1, 0, 1])
    rows = {"coop": {"base": base, "new": bins([0.35], [0])}, "dor": {"base": base, "new": bins([0.35], [1])}}
    figure = reliability_diagrams(tmp_path / "plot.png", rows, "title")
    assert_png(tmp_path / "plot.png", tuple(figure.get_size_inches()))
    axes = figure.get_axes()
    assert len(axes) == 8  # 2 classifiers x 2 scopes x (diagram, share)
    assert [axis.get_title() for axis in axes[:2]] == ["coop, base", "dor, base"]
    diagram, share = axes[0], axes[2]
    accuracy = [0, 0, 0, 0, 0, 1, 0, 0, 0, round(2 / 3, 6)]
    assert heights(diagram, 0) == accuracy
    assert heights(diagram, 1) == [0, 0, 0, 0, 0, -0.45, 0, 0, 0, round(0.95 - 2 / 3, 6)]  # to the confidence
    assert [bar.get_y() for bar in diagram.containers[1]] == pytest.approx(accuracy, abs=1e-6)
    assert heights(share, 0) == [0, 0, 0, 0, 0, 0.25, 0, 0, 0, 0.75]
    assert [bar.get_visible() for bar in diagram.containers[1]] == [b in (5, 9) for b in range(10)]
    assert "ECE 32.5%" in diagram.texts[0].get_text()  # (3 x |.95 - 2/3| + |.55 - 1|) / 4
    assert "n 4" in diagram.texts[0].get_text()
    assert diagram.get_ylabel() == "accuracy (fraction)"
    assert axes[-1].get_xlabel() == "confidence (fraction)"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == LEGEND


def test_a_bin_of_few_predictions_is_faint(tmp_path: Path) -> None:
    figure = reliability_diagrams(tmp_path / "plot.png", {"a": {"new": bins([0.95] * 199 + [0.15], [1] * 200)}}, "title")
    bars = figure.get_axes()[0].containers[0]
    assert [bars[b].get_alpha() for b in (1, 9)] == [0.35, None]


def test_a_scope_that_one_classifier_lacks_stays_blank(tmp_path: Path) -> None:
    rows = {"a": {"new": bins([0.5], [1])}, "b": {"base": bins([0.5], [1]), "new": bins([0.5], [1])}}
    figure = reliability_diagrams(tmp_path / "plot.png", rows, "title")
    axes = figure.get_axes()
    assert len(axes) == 8
    assert axes[0].get_title() == "a, base"
    assert axes[0].texts[0].get_text() == "no images"
    assert len(axes[0].containers) == 0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == LEGEND
    one = reliability_diagrams(tmp_path / "one.png", {"a": rows["a"]}, "title")
    assert len(one.get_axes()) == 2


def test_histograms_stack_right_and_wrong(tmp_path: Path) -> None:
    sure = (np.array([0.97, 0.97, 0.97, 0.52]), np.array([True, True, False, False]))
    figure = confidence_histograms(tmp_path / "plot.png", {"coop": {"base": sure, "new": sure}}, "title")
    assert_png(tmp_path / "plot.png", tuple(figure.get_size_inches()))
    axes = figure.get_axes()
    assert len(axes) == 2
    right, wrong = heights(axes[0], 0), heights(axes[0], 1)
    assert (right[19], wrong[19], right[10], wrong[10]) == (0.5, 0.25, 0, 0.25)
    assert sum(right) + sum(wrong) == 1
    assert axes[0].containers[1][19].get_y() == 0.5  # on top of the right ones
    assert axes[0].get_ylabel() == "share of images"


def test_the_scatter_has_a_dot_a_run_and_a_mean_a_method(tmp_path: Path) -> None:
    points = {"coop": [(0.02, 0.1), (0.04, 0.2)], "dor": [(0.03, 0.02)]}
    figure = ece_scatter(tmp_path / "plot.png", points, "title")
    assert_png(tmp_path / "plot.png", tuple(figure.get_size_inches()))
    (axis,) = figure.get_axes()
    drawn = [np.asarray(collection.get_offsets()).tolist() for collection in axis.collections]
    assert drawn[0] == [[0.02, 0.1], [0.04, 0.2]]
    assert drawn[1] == [[pytest.approx(0.03), pytest.approx(0.15)]]
    assert drawn[2] == [[0.03, 0.02]]  # one run is its own mean
    assert axis.get_xlim() == axis.get_ylim()
    assert axis.get_xlim()[1] > 0.2
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["base = new", "coop", "dor"]


def test_a_curve_a_run_and_a_panel_a_quantity(tmp_path: Path) -> None:
    histories = {
        "coop": [{"cross_entropy_loss": 2.0, "fd": 0.5}, {"cross_entropy_loss": 1.0, "fd": 0.6}],
        "dor": [
            {"cross_entropy_loss": 2.0, "dor_loss": 0.3, "fd": 0.5},
            {"cross_entropy_loss": 1.5, "fd": 0.5, "val_ece": 0.1},
        ],
    }
    figure = training_curves(tmp_path / "plot.png", histories, "title")
    assert_png(tmp_path / "plot.png", tuple(figure.get_size_inches()))
    panels = {axis.get_ylabel(): axis for axis in figure.get_axes()}
    assert list(panels) == ["cross-entropy loss (nats)", "FD (Euclidean distance)", "dor loss", "validation ECE (fraction)"]
    loss = panels["cross-entropy loss (nats)"]
    assert [line.get_xydata().tolist() for line in loss.lines] == [[[1, 2.0], [2, 1.0]], [[1, 2.0], [2, 1.5]]]
    assert panels["validation ECE (fraction)"].lines[0].get_xydata().tolist() == [[2, 0.1]]
    assert panels["dor loss"].get_xlabel() == "epoch"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["coop", "dor"]
    style = [(line.get_color(), line.get_linestyle()) for line in loss.lines]
    assert len({colour for colour, _ in style}) == len({dash for _, dash in style}) == 2  # two ways to tell them apart


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no training history"):
        training_curves(tmp_path / "plot.png", {"coop": []}, "title")
    with pytest.raises(InvalidInput, match="nothing to draw"):
        confidence_histograms(tmp_path / "plot.png", {}, "title")
    assert list(tmp_path.iterdir()) == []
