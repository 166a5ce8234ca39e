"""An artifact is whole, checked, and for one backbone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from candor.clip import ContextLearner, LearnerConfig, encode_prompts, load_artifact, save_artifact, tokenize_names
from candor.clip.artifact import CONFIG, PROMPT, BackboneRef
from candor.clip.backbone import Backbone
from candor.errors import IntegrityError, InvalidInput


@pytest.fixture
def learner(tiny_clip: Backbone) -> ContextLearner:
    return ContextLearner.create(LearnerConfig(n_ctx=4, class_position="middle"), tiny_clip, ("cat", "dog"))


@pytest.fixture
def saved(tmp_path: Path, tiny_clip: Backbone, learner: ContextLearner) -> Path:
    fields = {"method": "coop", "regularizers": {}, "base_classnames": ("cat", "dog"), "template": "a {}.", "seed": 1}
    save_artifact(tmp_path / "a", learner, backbone=BackboneRef.of(tiny_clip), **fields)
    return tmp_path / "a"


def test_a_loaded_artifact_gives_the_same_features(saved: Path, tiny_clip: Backbone, learner: ContextLearner) -> None:
    artifact = load_artifact(saved)
    names = tokenize_names(tiny_clip, ["umbrella", "cat"], 4)
    with torch.no_grad():
        expected = encode_prompts(tiny_clip.model, learner(names))
        assert torch.equal(encode_prompts(tiny_clip.model, artifact.learner(tiny_clip)(names)), expected)
    assert artifact.config.base_classnames == ("cat", "dog")
    assert sorted(p.name for p in saved.iterdir()) == [CONFIG, PROMPT]


def test_whoever_may_read_the_configuration_may_read_the_prompt(saved: Path) -> None:
    assert (saved / PROMPT).stat().st_mode & 0o777 == 0o644


def test_only_an_artifact_is_replaced(tmp_path: Path, learner: ContextLearner, tiny_clip: Backbone) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("precious")
    fields = {"method": "coop", "regularizers": {}, "base_classnames": ("cat", "dog"), "template": "a {}.", "seed": 1}
    with pytest.raises(InvalidInput, match=r"holds other files but no config\.json"):
        save_artifact(tmp_path / "b", learner, replace=True, backbone=BackboneRef.of(tiny_clip), **fields)
    assert (tmp_path / "b" / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("name", [CONFIG, PROMPT])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name}: expected a file, found nothing"):
        load_artifact(saved)


def test_every_flipped_byte_of_the_prompt_is_noticed(saved: Path) -> None:
    good = (saved / PROMPT).read_bytes()
    for position in range(0, len(good), 97):
        (saved / PROMPT).write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(IntegrityError, match="sha256"):
            load_artifact(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "expected schema_version 1, found 2"),
        ({"surprise": 1}, "surprise"),
        ({"calibrator": {"kind": "temperature", "temperature": 0}}, "temperature"),
        ({"learner": {"kind": "magic"}}, "learner kind context, found magic"),
    ],
)
def test_an_edited_configuration_is_refused(saved: Path, change: dict[str, object], message: str) -> None:
    document = json.loads((saved / CONFIG).read_text()) | change
    (saved / CONFIG).write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match=message):
        load_artifact(saved)


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_a_configuration_that_is_none(saved: Path, text: str) -> None:
    (saved / CONFIG).write_text(text)
    with pytest.raises(IntegrityError):
        load_artifact(saved)


def test_another_backbone_is_refused(saved: Path, glyph_clip: Backbone) -> None:
    with pytest.raises(IntegrityError, match="found glyph-clip with weights"):
        load_artifact(saved).learner(glyph_clip)


def test_a_learner_with_more_than_a_context_is_refused(tiny_clip: Backbone, tmp_path: Path) -> None:
    """What would be lost in saving is said before it is lost."""

    class WithBias(ContextLearner):
        def __init__(self, config: LearnerConfig, ctx: torch.Tensor, classnames: tuple[str, ...]) -> None:
            super().__init__(config, ctx, classnames)
            self.bias = torch.nn.Parameter(torch.zeros(1))

    with pytest.raises(InvalidInput, match="ctx alone; WithBias has ctx, bias"):
        save_artifact(tmp_path / "a", WithBias.create(LearnerConfig(n_ctx=2), tiny_clip, ()))
    assert not (tmp_path / "a").exists()
