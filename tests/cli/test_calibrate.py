"""`candor calibrate`: writes an artifact whole or not at all, and says what it did."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from candor.calibration import DistanceAwareCalibrator, TemperatureCalibrator
from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, load_artifact, save_artifact
from candor.clip.artifact import CONFIG, PROMPT, BackboneRef
from candor.clip.backbone import Backbone
from cli.main import app
from glyph_world.tasks import TASKS
from training import calibrate as calibration
from training.data import classnames_of
from training.datasets import load_dataset

runner = CliRunner()
DATASET, OTHER = (f"glyphs/{task}" for task in list(TASKS)[:2])


@pytest.fixture(autouse=True)
def _few_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every 40th test image: the command is what is tested, not the figures."""
    whole = load_dataset(DATASET)
    small = replace(whole, test=whole.test[::40])
    monkeypatch.setattr(
        "cli.calibrate.load_dataset", lambda name, root: small if name == DATASET else load_dataset(name, root)
    )


@pytest.fixture
def artifact(tmp_path: Path, glyph_clip: Backbone) -> PromptArtifact:
    dataset = load_dataset(DATASET)
    return save_artifact(
        tmp_path / "a",
        ContextLearner.create(LearnerConfig(n_ctx=4, ctx_init="a picture of a"), glyph_clip, ()),
        backbone=BackboneRef.of(glyph_clip),
        method="coop",
        regularizers={},
        base_classnames=classnames_of(dataset, "base"),
        template=dataset.template,
        training={"dataset": DATASET, "shots": 16},
        seed=1,
    )


def run(*arguments: object) -> tuple[int, str, str]:
    result = runner.invoke(app, ["calibrate", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_a_new_artifact_with_the_same_prompt(tmp_path: Path, artifact: PromptArtifact) -> None:
    code, out, _ = run(tmp_path / "a", "--kind", "dac+temperature", "--out", tmp_path / "b", "--force", "--json")
    assert code == 0
    document = json.loads(out)
    written = load_artifact(tmp_path / "b")
    assert isinstance(written.config.calibrator, DistanceAwareCalibrator)
    assert document["calibrator"] == written.config.calibrator.model_dump()
    assert document["artifact"] == str(tmp_path / "b")
    assert document["evaluation"]["after"]["new"] == pytest.approx(written.config.evaluation["new"])
    assert document["evaluation"]["before"]["new"]["accuracy"] == written.config.evaluation["new"]["accuracy"]
    assert document["validation"]["images"] == 4 * len(artifact.config.base_classnames)
    assert sum(written.config.reference["base"].reliability.count) > 10
    assert (tmp_path / "b" / PROMPT).read_bytes() == (tmp_path / "a" / PROMPT).read_bytes()
    assert load_artifact(tmp_path / "a").config == artifact.config
    code, out, _ = run(tmp_path / "b", "--kind", "none", "--replace")
    assert code == 0
    assert "after: no calibrator" in out
    assert load_artifact(tmp_path / "b").config.calibrator == TemperatureCalibrator()


def test_what_makes_validation_worse_is_kept_out_unless_forced(
    tmp_path: Path, artifact: PromptArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "fit_temperature", lambda *_: 9.0)  # far too unsure
    code, out, err = run(tmp_path / "a", "--out", tmp_path / "b")
    assert code == 1
    assert "validation ECE would get worse" in err
    assert "kept out; --force" in err
    assert "after: temperature (T = 9)" in out
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    code, _, err = run(tmp_path / "a", "--replace", "--force")
    assert code == 0
    assert "written all the same" in err
    assert load_artifact(tmp_path / "a").config.calibrator == TemperatureCalibrator(temperature=9.0)
    document = json.loads(run(tmp_path / "a", "--replace", "--json")[1])
    assert (document["objection"], document["artifact"]) == (None, str(tmp_path / "a"))  # as good as what is there


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say where to write: --out DIR, or --replace"),
        (["--out", "{here}/a"], "exists already"),
        (["--out", "{here}/b", "--kind", "magic"], "'magic'; valid: temperature, dac, dac+temperature, none"),
        (["--out", "{here}/b", "--dataset", "nope"], "unknown data set 'nope'"),
        (["--out", "{here}/b", "--dataset", OTHER], f"of which {OTHER} has"),
        (["--out", "{here}/b", "--device", "tpu9"], "unknown device 'tpu9'"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, artifact: PromptArtifact, arguments: list[str], message: str) -> None:
    code, _, err = run(tmp_path / "a", *(a.replace("{here}", str(tmp_path)) for a in arguments))
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_artifact_that_is_none_or_does_not_say_its_data_set(tmp_path: Path, artifact: PromptArtifact) -> None:
    code, _, err = run(tmp_path / "nowhere", "--replace")
    assert (code, "config.json: expected a file, found nothing" in err) == (2, True)
    document = json.loads((tmp_path / "a" / CONFIG).read_text()) | {"training": {}}
    (tmp_path / "a" / CONFIG).write_text(json.dumps(document))
    code, _, err = run(tmp_path / "a", "--replace")
    assert (code, "give --dataset" in err) == (2, True)
