"""`candor evaluate` on a tiny folder of glyphs: files, figures anew from them, and one sentence for what cannot be done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from candor.clip.artifact import BackboneRef, load_artifact, save_artifact
from candor.clip.backbone import Backbone
from candor.clip.learners import LEARNERS, LearnerConfig
from cli.main import app
from glyph_world import TEMPLATE
from glyph_world.render import Scene, render

runner = CliRunner()
LABELS = {
    "blue_anchor": ("anchor", "blue"),
    "red_sun": ("sun", "red"),
    "red_ankh": ("ankh", "red"),
    "teal_sun": ("sun", "teal"),
}
FILES = ["confidence.png", "ece_scatter.png", "evaluation.csv", "evaluation.json", "predictions.npz", "reliability.png"]


def run(*command: object) -> Result:
    return runner.invoke(app, ["evaluate", *map(str, command)])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for name, (sign, colour) in LABELS.items():
        for number in range(6):
            path = root / ("train" if number < 3 else "test") / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            render(Scene(sign, colour, "drawing", number)).save(path)
    return root


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory, glyph_clip: Backbone) -> Path:
    """Untrained prompts: two seeds for the first two labels, one for all labels, one of a backbone that is gone."""
    root = tmp_path_factory.mktemp("artifacts")
    here = BackboneRef.of(glyph_clip)
    gone = BackboneRef(model="glyph-clip", pretrained="gone.safetensors", sha256="1" * 64)
    for name, seed, base, ref in (("a", 1, 2, here), ("b", 2, 2, here), ("all", 3, 4, here), ("gone", 4, 2, gone)):
        torch.manual_seed(seed)
        names = tuple(LABELS)[:base]
        learner = LEARNERS["context"].create(LearnerConfig(n_ctx=2), glyph_clip, names)
        fields = {"method": "coop", "regularizers": {}, "template": TEMPLATE, "training": {"shots": 1}}
        save_artifact(root / name, learner, backbone=ref, base_classnames=names, seed=seed, **fields)
    return root


def test_help_says_what_happens_to_an_empty_scope() -> None:
    text = " ".join(run("--help").output.split())
    assert "A scope with fewer than two labels" in text
    assert "Example: candor evaluate" in text


@pytest.mark.slow
def test_artifacts_side_by_side(tmp_path: Path, photos: Path, artifacts: Path) -> None:
    out = tmp_path / "out"
    command = [artifacts / "a", artifacts / "b", "--dataset", "imagefolder", "--root", photos]
    shown = run(*command, "--out", out)
    assert shown.exit_code == 0, shown.output + shown.stderr
    assert sorted(path.name for path in out.iterdir()) == FILES
    document = json.loads((out / "evaluation.json").read_text())
    assert [(r["name"], r["seed"], r["artifact"] is None) for r in document["runs"]] == [
        ("zero-shot", None, True),
        ("a", 1, False),
        ("b", 2, False),
    ]
    for row in document["runs"]:
        assert {scope: (r["images"], r["labels"]) for scope, r in row["scopes"].items()} == {"base": (6, 2), "new": (6, 2)}
        figures = row["scopes"]["base"]["figures"]
        assert abs(figures["gap"]) - 1e-12 <= figures["piece"] <= 1  # bins of proximity x confidence refine one bin of all
    accuracy = document["runs"][0]["scopes"]["base"]["figures"]["accuracy"]
    assert accuracy == 1.0  # the embedded model knows a blue anchor from a red sun
    assert "100.0" in shown.output
    for word in ("zero-shot", "harmonic mean", "PIECE %"):
        assert word in shown.output
    with Image.open(out / "reliability.png") as plot:
        assert plot.width > plot.height > 500

    as_json = run(*command, "--json", "--no-zero-shot")
    assert as_json.exit_code == 0, as_json.stderr
    assert json.loads(as_json.output)["runs"] == document["runs"][1:]

    # the same figures from the files alone, and others with other bins
    again = run("--from", out, "--json")
    assert json.loads(again.output)["runs"] == document["runs"]
    fifteen = run("--from", out, "--bins", 15, "--out", tmp_path / "fifteen", "--json")
    figures = json.loads(fifteen.output)["runs"][1]["scopes"]["new"]["figures"]
    assert figures["ece"] == figures["ece_15"] == document["runs"][1]["scopes"]["new"]["figures"]["ece_15"]
    assert json.loads((tmp_path / "fifteen" / "evaluation.json").read_text())["n_bins"] == 15


@pytest.mark.slow
def test_evaluate_says_what_tune_said(tmp_path: Path, photos: Path) -> None:
    command = ["tune", "--method", "coop", "--dataset", "imagefolder", "--root", str(photos), "--out", str(tmp_path / "a")]
    tuned = runner.invoke(app, [*command, "--epochs", "2", "--shots", "2", "--seed", "5"])
    assert tuned.exit_code == 0, tuned.output + tuned.stderr
    shown = run(tmp_path / "a", "--dataset", "imagefolder", "--root", photos, "--json", "--no-zero-shot")
    assert shown.exit_code == 0, shown.stderr
    (evaluated,) = json.loads(shown.output)["runs"]
    config = load_artifact(tmp_path / "a").config
    assert (evaluated["method"], evaluated["seed"]) == ("coop", 5)
    for scope in ("base", "new"):
        assert evaluated["scopes"][scope]["figures"] == config.evaluation[scope], scope
        assert config.evaluation[scope]["piece"] > 0


@pytest.mark.slow
def test_scopes_follow_each_artifact(photos: Path, artifacts: Path) -> None:
    shown = run(artifacts / "all", artifacts / "a", "--dataset", "imagefolder", "--root", photos, "--json")
    assert shown.exit_code == 0, shown.stderr
    runs = json.loads(shown.output)["runs"]
    assert [(r["name"], list(r["scopes"]), r["mean"] is None) for r in runs] == [
        ("zero-shot, labels as all", ["base"], True),
        ("zero-shot, labels as a", ["base", "new"], False),
        ("all", ["base"], True),
        ("a", ["base", "new"], False),
    ]
    table = run(artifacts / "all", artifacts / "a", "--dataset", "imagefolder", "--root", photos)
    assert "–" in table.output
    assert "rows differ in how many labels a scope has" in table.stderr


@pytest.mark.slow
def test_unreadable_images(tmp_path: Path, photos: Path, artifacts: Path) -> None:
    for path in sorted(photos.rglob("*.png")):
        copy = tmp_path / "photos" / path.relative_to(photos)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / "photos" / "test" / "red_sun" / "5.png").write_bytes(b"no picture")
    command = [artifacts / "a", "--dataset", "imagefolder", "--root", tmp_path / "photos", "--out", tmp_path / "out"]
    refused = run(*command)
    assert refused.exit_code == 2
    assert "5.png" in refused.stderr
    assert not (tmp_path / "out").exists()
    skipped = run(*command, "--skip-bad")
    assert skipped.exit_code == 0
    assert "left out:" in skipped.stderr
    assert "5.png" in " ".join(skipped.stderr.split())
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert len(document["skipped"]) == 1
    assert document["runs"][0]["scopes"]["base"]["images"] == 5


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([], "give artifacts and --dataset, or --from"),
        (["A/a"], "give artifacts and --dataset, or --from"),
        (["A/a", "--dataset", "imagefolder"], "needs a root"),
        (["A/a", "--dataset", "nope"], "unknown data set 'nope'"),
        (["A/nope", "--dataset", "glyphs/things"], "config.json: expected a file, found nothing"),
        (["A/a", "A/a", "--dataset", "glyphs/things"], "is given twice"),
        (["A/a", "A/gone", "--dataset", "glyphs/things", "--pretrained", "x"], "--pretrained goes with artifacts of one"),
        (["A/gone", "--dataset", "glyphs/things"], "unknown weights 'gone.safetensors' for glyph-clip"),
        (
            ["A/gone", "--dataset", "glyphs/things", "--pretrained", "glyphs"],
            "expected backbone glyph-clip with weights",
        ),
        (["A/a", "--dataset", "glyphs/things", "--bins", "0"], "number of bins must be at least 1, got 0"),
        (["A/a", "--dataset", "glyphs/things", "--device", "tpu9"], "unknown device 'tpu9'"),
        (["--from", "A"], "evaluation.json: expected a file, found nothing"),
        (["A/a", "--from", "A"], "--from takes an evaluation as it is"),
        (["A/a", "--dataset", "glyphs/things", "--out", "A"], "exists already"),
    ],
)
def test_bad_input_is_one_sentence(artifacts: Path, glyph_clip: Backbone, command: list[str], message: str) -> None:
    """The data set's 1,920 pictures would take longer than this test: nothing long has begun when the error comes."""
    given = [str(artifacts / part[2:]) if part.startswith("A") else part for part in command]
    result = run(*(part if part != "glyphs" else glyph_clip.pretrained for part in given))
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output + result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_damaged_artifact_is_one_sentence(tmp_path: Path, artifacts: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in (artifacts / "a").iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    with (broken / "prompt.safetensors").open("ab") as file:
        file.write(b"x")
    result = run(artifacts / "b", broken, "--dataset", "glyphs/things")
    assert result.exit_code == 2
    assert "prompt.safetensors: expected sha256" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
