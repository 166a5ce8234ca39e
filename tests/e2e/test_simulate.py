"""The promise, from end to end: the real service and the real Prometheus over two days in a few minutes.

Drift is told before any label has come, over-confidence when labels come; feedback heals it without a restart.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from candor.clip.artifact import load_artifact
from cli.main import app

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(1200),  # three to four minutes on two idle cores
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus (Debian's prometheus) is not installed"),
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulate") / "out"


@pytest.fixture(scope="module")
def told(out: Path) -> Result:
    return CliRunner().invoke(app, ["simulate", "--out", str(out), "--compress", "900", "--json"])


@pytest.fixture(scope="module")
def timeline(told: Result, out: Path) -> dict[str, Any]:
    assert told.exit_code in (0, 1), told.output
    return json.loads((out / "timeline.json").read_text())


def firing(timeline: dict[str, Any], name: str, **labels: str) -> list[dict[str, Any]]:
    """Stretches in which an alert fired, for the artifact and scope."""
    found = [each for each in timeline["alerts"] if (each["name"], each["state"]) == (name, "firing")]
    return [each for each in found if each["labels"].items() >= labels.items()]


def figures(timeline: dict[str, Any], phase: str, scope: str) -> dict[str, float]:
    """The last row of a phase's table for one scope."""
    return [row for row in timeline["table"] if (row["phase"], row["scope"]) == (phase, scope)][-1]


def test_every_check_of_the_story_is_true(told: Result, timeline: dict[str, Any]) -> None:
    failed = [name for name, true in timeline["checks"].items() if not true]
    assert failed == [], json.dumps({name: timeline[name] for name in ("marks", "table", "alerts", "traffic")})
    assert told.exit_code == 0


def test_by_day_confidence_is_true_and_nothing_fires(timeline: dict[str, Any]) -> None:
    shift = timeline["marks"]["shift"]
    quiet = [each for each in timeline["alerts"] if each["state"] == "firing" and each["start"] < shift]
    assert {each["name"] for each in quiet} <= {"CandorSlow"}  # that is of the machine
    for scope in ("base", "new"):
        by_day = figures(timeline, "day", scope)
        assert by_day["feedback"] > 50
        assert abs(by_day["gap"]) < 0.1
        assert by_day["psi"] < max(0.2, by_day["psi_floor"])


def test_drift_is_told_before_any_label_of_a_shifted_picture(timeline: dict[str, Any]) -> None:
    shift, labels = (timeline["marks"][name] for name in ("shift", "first label of a shifted picture"))
    first = min(each["start"] for each in firing(timeline, "CandorConfidenceDrift"))
    assert shift < first < labels
    for scope in ("base", "new"):
        row = figures(timeline, "dusk", scope)
        assert row["psi"] > max(0.2, row["psi_floor"])
        assert abs(row["gap"]) < 0.1  # the labels that are there are still those of the day


def test_labels_show_over_confidence_on_new(timeline: dict[str, Any]) -> None:
    tag = timeline["setting"]["artifact"]
    found = firing(timeline, "CandorOverconfidentOnNew", artifact=tag, scope="new")
    assert found[0]["start"] > timeline["marks"]["first label of a shifted picture"]
    row = figures(timeline, "labels come", "new")
    assert row["gap"] > max(0.1, row["gap_floor"])
    assert row["confidence"] < figures(timeline, "day", "new")["confidence"]  # it fell; but accuracy fell further
    assert row["accuracy"] < figures(timeline, "day", "new")["accuracy"] - 0.2


def test_feedback_heals_it_without_a_restart(timeline: dict[str, Any], out: Path) -> None:
    healed = load_artifact(out / "artifacts" / "healed")
    tuned = load_artifact(out / "artifacts" / "tuned")
    assert (tuned.tag, healed.tag) == (timeline["setting"]["artifact"], timeline["setting"]["healed"])
    assert (timeline["calibration"]["artifact"], timeline["calibration"]["refusal"]) == ("artifacts/healed", None)
    for scope in ("base", "new"):
        before, after = (figures(timeline, phase, scope) for phase in ("labels come", "healed"))
        assert (before["artifact"], after["artifact"]) == (tuned.tag, healed.tag)
        assert after["ece"] < before["ece"]
        assert abs(after["gap"]) < 0.1
        assert abs(after["accuracy"] - before["accuracy"]) < 0.2  # no calibrator changes an answer


def test_alerts_end(timeline: dict[str, Any]) -> None:
    for name in ("CandorConfidenceDrift", "CandorOverconfidentOnNew"):
        ends = [each["end"] for each in firing(timeline, name)]
        assert ends
        assert max(ends) < timeline["end"] - 2
        assert firing(timeline, name, artifact=timeline["setting"]["healed"]) == []


def test_nothing_was_lost_on_the_way(timeline: dict[str, Any], told: Result, out: Path) -> None:
    seen = timeline["traffic"]
    assert seen["errors"] == {}
    assert seen["asked"] >= seen["labelled"] > 1000
    printed = json.loads(told.stdout)
    assert printed == {name: value for name, value in timeline.items() if name != "series"}
    assert {path.name for path in out.iterdir()} >= {"drift.png", "calibration.png", "service.log", "feedback.db"}
