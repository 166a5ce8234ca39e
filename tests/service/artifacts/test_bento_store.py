"""Artifacts in the BentoML model store, as BentoML itself reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bentoml
import pytest

from candor.clip import PromptArtifact
from candor.clip.artifact import load_artifact
from candor.errors import IntegrityError
from service.artifacts.bento_store import keep, kept_artifacts


def test_a_kept_artifact_is_the_artifact(save: Callable[..., PromptArtifact]) -> None:
    artifact = save("one")
    tag = keep(artifact.path)
    assert tag == f"candor-artifact:{artifact.tag.replace('+', '-')}"
    [(found, path)] = kept_artifacts()
    assert found == tag
    assert load_artifact(path).config == artifact.config
    assert load_artifact(path).ctx.equal(artifact.ctx)


def test_bentoml_knows_it_with_its_metadata_and_without_pickle(save: Callable[..., PromptArtifact]) -> None:
    artifact = save("one", seed=7)
    model = bentoml.models.get(keep(artifact.path))
    assert model.info.labels == {"project": "candor"}
    assert model.info.metadata["tag"] == artifact.tag
    assert (model.info.metadata["seed"], model.info.metadata["base_labels"]) == (7, 2)
    assert model.info.metadata["backbone"]["sha256"] == artifact.config.backbone.sha256
    files = {str(p.relative_to(model.path)) for p in Path(model.path).rglob("*") if p.is_file()}
    assert files == {"model.yaml", "artifact/config.json", "artifact/prompt.safetensors"}


def test_keeping_it_again_changes_nothing(save: Callable[..., PromptArtifact]) -> None:
    artifact = save("one")
    assert keep(artifact.path) == keep(artifact.path)
    assert len(kept_artifacts()) == 1
    assert keep(save("two", seed=2).path) != keep(artifact.path)
    assert len(kept_artifacts()) == 2


def test_a_damaged_artifact_is_not_kept(
    save: Callable[..., PromptArtifact], damage: Callable[[PromptArtifact], None]
) -> None:
    artifact = save("one")
    damage(artifact)
    with pytest.raises(IntegrityError, match="sha256"):
        keep(artifact.path)
    assert kept_artifacts() == []
