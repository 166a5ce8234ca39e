"""Running the shared prefix once is the same function as running every prompt whole: values and gradients."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from candor.clip import ContextLearner, LearnerConfig, encode_prompts, encode_tokens, tokenize_names
from candor.clip.backbone import Backbone
from candor.clip.text_encoder import run_prefix

NAMES = ["cat", "skull and crossbones", "the second of many fleur-de-lis", "dog"]


@pytest.fixture(scope="module")
def clip64(tiny_clip: Backbone) -> Backbone:
    """A float64 copy, so that differences are method, not rounding."""
    return replace(tiny_clip, model=copy.deepcopy(tiny_clip.model).double())


def encode_in_full(clip: Backbone, learner: ContextLearner, names: list[str]) -> Tensor:
    """Every prompt alone, all 77 positions, through the model's own transformer: the slow, obvious way."""
    features = []
    for name in names:
        prompts = learner(tokenize_names(clip, [name], learner.config.n_ctx))
        x = torch.cat([prompts.prefix.double(), prompts.suffix[0].double()])
        padding = clip.model.token_embedding(torch.zeros(clip.context_length - len(x), dtype=torch.int64)).double()
        x = torch.cat([x, padding])[None] + clip.model.positional_embedding
        x = clip.model.ln_final(clip.model.transformer(x, attn_mask=clip.model.attn_mask))
        features.append(x[0, prompts.eot_index[0]] @ clip.model.text_projection)
    return torch.nn.functional.normalize(torch.stack(features), dim=-1)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("class_specific", [False, True])
def test_features_and_gradients_are_those_of_whole_prompts(clip64: Backbone, position: str, class_specific: bool) -> None:
    config = LearnerConfig(n_ctx=5, class_position=position, class_specific=class_specific)
    learner = ContextLearner.create(config, clip64, tuple(NAMES)).double()
    target = torch.randn(len(NAMES), clip64.embed_dim, dtype=torch.float64)
    results = []
    for encode in (
        lambda: encode_prompts(clip64.model, learner(tokenize_names(clip64, NAMES, 5))),
        lambda: encode_in_full(clip64, learner, NAMES),
    ):
        learner.zero_grad()
        features = encode()
        (features * target).sum().backward()
        results.append((features.detach().double(), learner.ctx.grad.clone()))
    (fast, fast_grad), (slow, slow_grad) = results
    torch.testing.assert_close(fast, slow, atol=2e-7, rtol=0)  # features are returned in float32
    assert (fast_grad - slow_grad).norm() < 1e-6 * slow_grad.norm()  # the last step, the norm, is in float32


def test_a_prefix_may_be_used_again_within_a_step(clip64: Backbone) -> None:
    learner = ContextLearner.create(LearnerConfig(n_ctx=4), clip64, ())
    first, second = (tokenize_names(clip64, names, 4) for names in (NAMES[:2], NAMES[2:]))

    def gradient(reuse: bool) -> Tensor:
        learner.zero_grad()
        prefix = run_prefix(clip64.model, learner(first)) if reuse else None
        total = sum(encode_prompts(clip64.model, learner(n), prefix)[:, :7].sum() for n in (first, second))
        total.backward()
        return learner.ctx.grad.clone()

    again, alone = gradient(True), gradient(False)
    assert (again - alone).norm() < 1e-6 * alone.norm()


def test_blocks_we_do_not_know_run_whole(tiny_clip: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = ContextLearner.create(LearnerConfig(n_ctx=4), tiny_clip, ())
    names = tokenize_names(tiny_clip, NAMES, 4)
    shared = encode_prompts(tiny_clip.model, learner(names))
    monkeypatch.setattr("candor.clip.text_encoder.has_plain_blocks", lambda _: False)
    assert run_prefix(tiny_clip.model, learner(names)) is None
    torch.testing.assert_close(encode_prompts(tiny_clip.model, learner(names)), shared, atol=1e-6, rtol=1e-5)


def test_equal_and_single_texts(tiny_clip: Backbone) -> None:
    """Where all tokens are shared, the end-of-text token still runs as a suffix."""
    tokens = tiny_clip.tokenize(["a picture of a cat."] * 3)
    expected = tiny_clip.model.encode_text(tokens, normalize=True)
    torch.testing.assert_close(encode_tokens(tiny_clip.model, tokens), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(encode_tokens(tiny_clip.model, tokens[:1]), expected[:1], atol=1e-6, rtol=1e-5)
