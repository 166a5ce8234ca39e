"""The graphs: what they draw is what the timeline holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cli.prometheus import Series
from cli.simulate.figures import COLOURS, draw
from cli.simulate.timeline import FIGURES, Firing, Phase, Timeline


def made() -> Timeline:
    def lines(name: str) -> list[Series]:
        size = 1 + list(FIGURES).index(name)
        points = tuple((float(t), size / 10) for t in (10, 11, 12, 30, 31))  # with a gap
        return [Series({"artifact": tag, "scope": scope}, points) for tag in ("a", "b") for scope in ("base", "new")]

    return Timeline(
        setting={"artifact": "a", "healed": "b", "compress": 720},
        marks={"shift": 20.0},
        phases=[Phase("day", 0, 20), Phase("dusk", 20, 40)],
        series={name: lines(name) for name in FIGURES},
        alerts=[
            Firing("CandorConfidenceDrift", "firing", {"scope": "new"}, 25, 39),
            Firing("CandorSlow", "firing", {}, 1, 2),
        ],
        end=40,
    )


def test_lines_gaps_hours_and_alerts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (kept.append(self), save(self, *a, **k)))
    paths = draw(tmp_path, made())
    assert [path.name for path in paths] == ["drift.png", "calibration.png"]
    psi = [line for line in kept[0].axes[0].lines if line.get_color() in COLOURS.values()]
    assert len(psi) == 4 * 2  # each line is broken where it has no points for a while
    x, y = psi[0].get_data()
    np.testing.assert_allclose(x, np.array([10, 11, 12]) / 5)  # an hour is five seconds
    np.testing.assert_allclose(y, 0.5)
    assert {line.get_linestyle() for line in psi[:4]} == {"-"}
    assert {line.get_linestyle() for line in psi[4:]} == {"--"}
    alerts = kept[0].axes[-1]
    assert [label.get_text() for label in alerts.get_yticklabels()] == ["ConfidenceDrift"]
    assert [(bar.get_x(), bar.get_width()) for bar in alerts.containers[0]] == [(5.0, 3.0)]
    for path in paths:
        with Image.open(path) as image:
            assert len(image.convert("RGB").getcolors(1 << 20) or []) > 20


def test_a_story_without_a_figure_is_drawn_too(tmp_path: Path) -> None:
    empty = Timeline({"artifact": "a", "healed": None, "compress": 720}, {}, [], {name: [] for name in FIGURES}, [], 10)
    assert all(path.stat().st_size > 5000 for path in draw(tmp_path, empty))
