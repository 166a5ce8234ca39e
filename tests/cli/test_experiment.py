"""`candor experiment`: one sentence for bad input, and an experiment that survives a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app

runner = CliRunner()
SMALL = {
    "name": "small",
    "title": "Small",
    "datasets": ["glyphs/things"],
    "methods": ["zero-shot", "coop"],
    "seeds": [1, 2],
    "train": {"shots": 1, "epochs": 1, "learner": {"n_ctx": 2}},
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["nope"], "no recipe 'nope'; recipes: glyphs_ablation, glyphs_ci, glyphs_paper, paper_"),
        (["paper_table1_coop", "--out", "OUT"], "unknown weights 'openai' for ViT-B-16"),
        (["glyphs_ci", "--out", "OUT", "--device", "tpu9"], "unknown device 'tpu9'"),
        (["glyphs_ci", "--out", "OUT", "--index", "nowhere"], "needs an index of"),
        (["glyphs_ci", "--out", "FULL"], "holds something that is no experiment"),
        (["glyphs_ci", "--out", "FULL/a.txt"], "cannot write to"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, command: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("precious")
    places = {"OUT": str(tmp_path / "out"), "FULL": str(tmp_path / "full"), "FULL/a.txt": str(tmp_path / "full" / "a.txt")}
    if "paper_table1_coop" in command:
        monkeypatch.setattr("open_clip.list_pretrained_tags_by_model", lambda _: [])  # no network here, whatever is cached
    result = runner.invoke(app, ["experiment", *(places.get(word, word) for word in command)])
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert (tmp_path / "full" / "a.txt").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_help_teaches() -> None:
    result = runner.invoke(app, ["experiment", "--help"])
    assert result.exit_code == 0
    assert "goes on where it stopped" in " ".join(result.output.replace("│", "").split())


@pytest.mark.slow
def test_a_small_experiment_in_this_process(recipe: Path, tmp_path: Path) -> None:
    command = ["experiment", str(recipe), "--out", str(tmp_path / "out"), "--workers", "0", "--json"]
    first = runner.invoke(app, command)
    assert first.exit_code == 0, first.output
    document = json.loads(first.stdout)
    assert document["this_call"]["runs"] == 3
    assert list(document["tables"]["Methods"]) == ["zero-shot", "coop"]
    assert "4/4 coop on glyphs/things, seed" in first.stderr
    again = json.loads(runner.invoke(app, command).stdout)
    assert again["this_call"]["runs"] == 0
    assert again["tables"] == document["tables"]
    assert json.loads((tmp_path / "out" / "results.json").read_text())["tables"] == document["tables"]


@pytest.mark.slow
def test_a_failing_run_makes_the_exit_code_1(recipe: Path, tmp_path: Path) -> None:
    mad = {
        "title": "Rate",
        "method": "coop",
        "rows": {"mad": {"train": {"learning_rate": 1e30, "epochs": 3, "batch_size": 4}}},
    }
    recipe.write_text(yaml.safe_dump(SMALL | {"methods": ["coop"], "seeds": [1], "variants": [mad]}))
    result = runner.invoke(app, ["experiment", str(recipe), "--out", str(tmp_path / "out"), "--workers", "0"])
    assert result.exit_code == 1
    assert "candor: mad on glyphs/things, seed 1: training stopped: cross_entropy_loss became" in result.stderr
    assert "1 runs made" in result.stdout
    assert "mad has 0 of 1 runs" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.slow
def test_a_killed_experiment_goes_on_and_leaves_no_process(recipe: Path, tmp_path: Path) -> None:
    """SIGKILL after the first finished run; the same command then makes only the rest, in two processes."""
    recipe.write_text(yaml.safe_dump(SMALL | {"seeds": [1, 2, 3, 4, 5, 6]}))
    command = [sys.executable, "-c", "from cli.main import main; main()", "experiment", str(recipe)]
    command += ["--out", str(tmp_path / "out"), "--workers", "2"]
    runs = tmp_path / "out" / "runs"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        wait_for(lambda: len(list(runs.glob("*.json"))) >= 2)
        process.send_signal(signal.SIGKILL)
    wait_for(lambda: not group_is_alive(process.pid))
    kept = {path.name: path.stat().st_mtime_ns for path in runs.glob("*.json")}
    assert 2 <= len(kept) < 7
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["this_call"]["runs"] == 7 - len(kept)
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in runs.glob("*.json")}.items()


def group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition: object) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
