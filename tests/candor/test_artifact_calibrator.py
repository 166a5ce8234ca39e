"""An artifact with another calibrator: the same prompt, new figures, whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from candor.calibration import Calibrator, DistanceAwareCalibrator, TemperatureCalibrator
from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, load_artifact, save_artifact
from candor.clip.artifact import CONFIG, PROMPT, BackboneRef, Bins, Reference, Scope, with_calibrator
from candor.clip.backbone import Backbone
from candor.errors import IntegrityError, InvalidInput

NEW: dict[Scope, Reference] = {
    "base": Reference(reliability=Bins(count=[1.0], confidence=[0.5], correct=[1.0]), confidence_histogram=[1.0])
}
FIGURES: dict[Scope, dict[str, float]] = {"base": {"ece": 0.5, "piece": math.nan}}


@pytest.fixture
def saved(tmp_path: Path, tiny_clip: Backbone) -> PromptArtifact:
    learner = ContextLearner.create(LearnerConfig(n_ctx=4), tiny_clip, ("cat", "dog"))
    return save_artifact(
        tmp_path / "a",
        learner,
        backbone=BackboneRef.of(tiny_clip),
        method="coop",
        regularizers={},
        base_classnames=("cat", "dog"),
        template="a {}.",
        training={"shots": 16},
        seed=1,
        evaluation={"base": {"ece": 0.1}, "new": {"ece": 0.2}},
    )


@pytest.mark.parametrize("calibrator", [TemperatureCalibrator(temperature=1.5), DistanceAwareCalibrator(nearest=3)])
def test_only_the_calibrator_and_its_figures_change(tmp_path: Path, saved: PromptArtifact, calibrator: Calibrator) -> None:
    made = with_calibrator(saved, tmp_path / "b", calibrator, reference=NEW, evaluation=FIGURES)
    assert made.config.calibrator == calibrator
    assert made.config.reference == NEW
    assert made.config.evaluation["base"]["ece"] == 0.5
    assert math.isnan(made.config.evaluation["base"]["piece"])  # a figure that is not defined is no reason not to load
    assert list(made.config.evaluation) == ["base"]
    assert (tmp_path / "b" / PROMPT).read_bytes() == (tmp_path / "a" / PROMPT).read_bytes()
    assert torch.equal(made.ctx, saved.ctx)
    changed = {"calibrator", "reference", "evaluation"}
    assert made.config.model_dump(exclude=changed) == saved.config.model_dump(exclude=changed)
    assert load_artifact(tmp_path / "a").config == saved.config


def test_in_place(tmp_path: Path, saved: PromptArtifact) -> None:
    with pytest.raises(InvalidInput, match="exists already"):
        with_calibrator(saved, tmp_path / "a", DistanceAwareCalibrator(), reference={}, evaluation={})
    with_calibrator(saved, tmp_path / "a", DistanceAwareCalibrator(), True, reference={}, evaluation={})
    assert load_artifact(tmp_path / "a").config.calibrator == DistanceAwareCalibrator()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_prompt_that_changed_meanwhile_gets_no_new_home(tmp_path: Path, saved: PromptArtifact) -> None:
    (tmp_path / "a" / PROMPT).write_bytes(b"something else")
    with pytest.raises(IntegrityError, match=r"prompt\.safetensors: expected sha256"):
        with_calibrator(saved, tmp_path / "b", DistanceAwareCalibrator(), reference={}, evaluation={})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with pytest.raises(InvalidInput, match="loaded from disk"):
        with_calibrator(
            PromptArtifact(saved.config, saved.ctx), tmp_path / "b", DistanceAwareCalibrator(), reference={}, evaluation={}
        )


def test_artifacts_of_before_load(saved: PromptArtifact) -> None:
    assert saved.path is not None
    document = json.loads((saved.path / CONFIG).read_text())
    assert document["calibrator"] == {"kind": "temperature", "temperature": 1.0}  # as they were written
    del document["calibrator"]
    (saved.path / CONFIG).write_text(json.dumps(document))
    assert load_artifact(saved.path).config.calibrator == TemperatureCalibrator()
    for calibrator, problem in (({"kind": "magic"}, "magic"), ({"kind": "dac", "near": -1}, "near")):
        (saved.path / CONFIG).write_text(json.dumps(document | {"calibrator": calibrator}))
        with pytest.raises(IntegrityError, match=problem):
            load_artifact(saved.path)
