"""`candor artifact`: into the model store, and what can be served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from typer.testing import CliRunner

from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, save_artifact
from candor.clip.artifact import BackboneRef
from candor.clip.backbone import Backbone
from cli.main import app


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A model store that is not the user's."""
    monkeypatch.delenv("CANDOR_ARTIFACTS", raising=False)
    monkeypatch.delenv("CANDOR_ARTIFACT", raising=False)
    path = tmp_path / "models"
    path.mkdir()
    BentoMLContainer.model_store_dir.set(str(path))
    BentoMLContainer.model_store.set(ModelStore(path))
    yield
    BentoMLContainer.model_store.reset()
    BentoMLContainer.model_store_dir.reset()


@pytest.fixture
def artifact(tmp_path: Path, tiny_clip: Backbone) -> PromptArtifact:
    learner = ContextLearner.create(LearnerConfig(n_ctx=4), tiny_clip, ())
    fields = {"method": "coop", "regularizers": {}, "base_classnames": ("cat",), "template": "a {}.", "seed": 1}
    return save_artifact(tmp_path / "folder" / "mine", learner, backbone=BackboneRef.of(tiny_clip), **fields)


def output(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["artifact", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_keep_then_list(artifact: PromptArtifact, tmp_path: Path) -> None:
    tag = json.loads(output("keep", str(artifact.path), "--json"))["tag"]
    assert tag == f"candor-artifact:{artifact.tag}"
    folder = tmp_path / "folder"
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("{}")
    rows = json.loads(output("list", "--folder", str(folder), "--json"))
    assert [(row["tag"], row["source"], row["name"]) for row in rows] == [
        (None, "directory", "broken"),
        (artifact.tag, "directory", "mine"),
        (artifact.tag, "store", tag),
        ("zero-shot", "zero-shot", "zero-shot"),
    ]
    shown = output("list", "--folder", str(folder)).splitlines()
    assert shown[1] == f"{artifact.tag}  directory  mine"
    assert "damaged  directory  broken  broken/prompt.safetensors: expected a file" in " ".join(shown)


def test_what_is_no_artifact_is_one_sentence(tmp_path: Path) -> None:
    assert output("keep", str(tmp_path / "nothing"), code=2).startswith("candor: ")
