from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, save_artifact
from candor.clip.artifact import PROMPT, BackboneRef
from candor.clip.backbone import Backbone

Save = Callable[..., PromptArtifact]


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[Path]:
    """A model store that is not the user's."""
    path = tmp_path / "models"
    path.mkdir()
    BentoMLContainer.model_store_dir.set(str(path))
    BentoMLContainer.model_store.set(ModelStore(path))
    yield path
    BentoMLContainer.model_store.reset()
    BentoMLContainer.model_store_dir.reset()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def save(folder: Path, tiny_clip: Backbone) -> Save:
    def make(name: str, seed: int = 1, backbone: Backbone = tiny_clip, **more: object) -> PromptArtifact:
        torch.manual_seed(seed)
        learner = ContextLearner.create(LearnerConfig(n_ctx=4), backbone, ())
        learner.ctx.data.add_(torch.randn_like(learner.ctx))
        fields = {
            "method": "coop+dor",
            "regularizers": {"dor": 8.0},
            "base_classnames": ("cat", "dog"),
            "template": "a {}.",
        }
        return save_artifact(folder / name, learner, backbone=BackboneRef.of(backbone), seed=seed, **(fields | more))

    return make


@pytest.fixture
def damage() -> Callable[[PromptArtifact], None]:
    def flip(artifact: PromptArtifact) -> None:
        assert artifact.path is not None
        prompt = bytearray((artifact.path / PROMPT).read_bytes())
        prompt[-1] ^= 1
        (artifact.path / PROMPT).write_bytes(prompt)

    return flip
