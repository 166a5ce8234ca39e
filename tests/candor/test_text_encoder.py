"""The soft-prompt encoder is the model's own text tower."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch

import glyph_world
from candor.clip import ContextLearner, LearnerConfig, encode_prompts, encode_tokens, tokenize_names
from candor.clip.backbone import Backbone
from candor.clip.text_encoder import text_tower
from candor.errors import InvalidInput

TEXTS = ["a", "a picture of a red umbrella.", "one of the many pictures of a skull and crossbones that we kept for years"]


@pytest.fixture(params=["CLIP", "CustomTextCLIP"])
def clip(request: pytest.FixtureRequest, tiny_clip: Backbone) -> Backbone:
    """The same weights in both of open_clip's layouts."""
    if request.param == "CLIP":
        return tiny_clip
    model = open_clip.create_model("glyph-clip", force_custom_text=True).eval().requires_grad_(False)
    return replace(tiny_clip, model=model)


def test_equals_the_models_own_encode_text(clip: Backbone) -> None:
    tokens = open_clip.get_tokenizer("glyph-clip")(TEXTS)
    expected = clip.model.encode_text(tokens, normalize=True)
    torch.testing.assert_close(encode_tokens(clip.model, tokens), expected, atol=1e-6, rtol=1e-5)


def test_our_tokens_are_open_clips(tiny_clip: Backbone) -> None:
    assert torch.equal(tiny_clip.tokenize(TEXTS), open_clip.get_tokenizer("glyph-clip")(TEXTS))


def test_encode_text_keeps_the_order_of_its_texts(tiny_clip: Backbone) -> None:
    one_by_one = torch.cat([tiny_clip.encode_text([text]) for text in reversed(TEXTS)])
    torch.testing.assert_close(tiny_clip.encode_text(TEXTS[::-1], batch_size=2), one_by_one, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("position", "text"),
    [("end", "a photo of a {}."), ("middle", "a photo {} of a."), ("front", "{} a photo of a.")],
)
@pytest.mark.parametrize("class_specific", [False, True])
def test_a_word_context_is_the_text_it_spells(clip: Backbone, position: str, text: str, class_specific: bool) -> None:
    names = ("cat", "skull and crossbones", "fleur-de-lis")
    config = LearnerConfig(ctx_init="a photo of a", class_position=position, class_specific=class_specific)
    learner = ContextLearner.create(config, clip, names)
    prompts = learner(tokenize_names(clip, names, learner.config.n_ctx))
    tokens = clip.tokenize([text.replace("{}", name) for name in names])
    expected = clip.model.encode_text(tokens, normalize=True)
    torch.testing.assert_close(encode_prompts(clip.model, prompts), expected, atol=1e-6, rtol=1e-5)


def test_n_ctx_counts_tokens_not_words(tiny_clip: Backbone) -> None:
    learner = ContextLearner.create(LearnerConfig(ctx_init="an unphotographable"), tiny_clip, ())
    assert learner.config.n_ctx == len(tiny_clip.bpe("an unphotographable")) > 2


def test_gradients_reach_the_context_and_nothing_else(tiny_clip: Backbone) -> None:
    learner = ContextLearner.create(LearnerConfig(n_ctx=4), tiny_clip, ())
    encode_prompts(tiny_clip.model, learner(tokenize_names(tiny_clip, ["cat", "dog"], 4)))[0, 0].backward()
    assert learner.ctx.grad.abs().min() > 0
    assert all(p.grad is None for p in tiny_clip.model.parameters())
    assert list(learner.state_dict()) == ["ctx"]


def test_a_class_specific_context_refuses_other_classes(tiny_clip: Backbone) -> None:
    learner = ContextLearner.create(LearnerConfig(class_specific=True, n_ctx=2), tiny_clip, ("cat", "dog"))
    with pytest.raises(InvalidInput, match="not umbrella"):
        learner(tokenize_names(tiny_clip, ["cat", "umbrella"], 2))


def test_choosing_rows_of_names_changes_no_feature(tiny_clip: Backbone) -> None:
    learner = ContextLearner.create(LearnerConfig(n_ctx=3), tiny_clip, ())
    names = tokenize_names(tiny_clip, ["cat", "skull and crossbones", "dog"], 3)
    every = encode_prompts(tiny_clip.model, learner(names))
    rows = torch.tensor([2, 0])
    chosen = names[rows]
    assert chosen.names == ("dog", "cat")
    torch.testing.assert_close(encode_prompts(tiny_clip.model, learner(chosen)), every[rows], atol=1e-6, rtol=1e-5)


def test_a_tower_that_sees_behind_the_text_is_refused(tmp_path: Path) -> None:
    config = json.loads(glyph_world.MODEL_CONFIG.read_text())
    config["custom_text"] = True
    config["text_cfg"] |= {"no_causal_mask": True, "pool_type": "last"}
    (tmp_path / "two-way.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "two-way.json")
    with pytest.raises(InvalidInput, match="causal"):
        text_tower(open_clip.create_model("two-way"))
