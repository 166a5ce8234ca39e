"""The backbone path against Hugging Face's CLIP with the same weights: an implementation that shares no code with ours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor

from candor.clip import Backbone, ContextLearner, LearnerConfig, encode_prompts, load_backbone, tokenize_names
from candor.clip.backbone import register_backbone
from service.bench.hugging_face import hugging_face_names

TEXTS = ["cat", "a photo of a dog.", "a drawing of the second of many fleur-de-lis, in blue and white", "3 café ☂"]
NAMES = ["cat", "skull_and_crossbones", "the second of many fleur-de-lis"]
LAYERS, WIDTH, HEADS = 3, 64, 4
UNUSED = 40_000  # token ids from here on occur in none of the texts


@dataclass(frozen=True)
class Pair:
    """The same weights in both libraries."""

    ours: Backbone
    theirs: torch.nn.Module


def hugging_face_clip(ours: dict[str, Tensor], quick_gelu: bool, eos_token_id: int) -> torch.nn.Module:
    """transformers.CLIPModel with these weights, loaded strictly."""
    shape = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_act": "quick_gelu" if quick_gelu else "gelu",
        "projection_dim": 32,
    }
    config = transformers.CLIPConfig(
        text_config=shape | {"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": eos_token_id},
        vision_config=shape | {"image_size": 32, "patch_size": 8},
        projection_dim=32,
    )
    model = transformers.CLIPModel(config).double().eval()
    model.load_state_dict(hugging_face_names(ours))
    return model


def open_clip_config(path: Path, quick_gelu: bool) -> str:
    """A config file of the same architecture, registered under the name that is returned."""
    name = f"parity-{'quick-gelu' if quick_gelu else 'gelu'}"
    document = {
        "embed_dim": 32,
        "quick_gelu": quick_gelu,
        "vision_cfg": {"image_size": 32, "layers": LAYERS, "width": WIDTH, "head_width": WIDTH // HEADS, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": WIDTH, "heads": HEADS, "layers": LAYERS},
    }
    (path / f"{name}.json").write_text(json.dumps(document))
    register_backbone(name, "none", path / f"{name}.json", path / "none")
    return name


@pytest.fixture(scope="module", params=[(True, 49407), (False, 49407), (True, 2)], ids=["quick_gelu", "gelu", "old_eos"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Both models in float64, with weights that no initialisation leaves at 0 or 1: a bias or norm that is mixed up shows.

    The old eos_token_id, 2, is what OpenAI's own repositories carry; there the pooled token is the largest id.
    """
    quick_gelu, eos_token_id = request.param
    torch.manual_seed(0)
    ours = load_backbone(open_clip_config(tmp_path_factory.mktemp("config"), quick_gelu), "random")
    with torch.no_grad():
        for name, value in ours.model.state_dict().items():
            if name != "logit_scale":
                value.mul_(3).add_(0.1 * torch.randn(value.shape))
    ours.model.double()
    return Pair(ours, hugging_face_clip(ours.model.state_dict(), quick_gelu, eos_token_id))


def test_logits(pair: Pair) -> None:
    images, tokens = torch.randn(5, 3, 32, 32, dtype=torch.float64), pair.ours.tokenize(TEXTS)
    with torch.no_grad():
        theirs = pair.theirs(input_ids=tokens, pixel_values=images).logits_per_image
    image_features, text_features = pair.ours.encode_image(images), pair.ours.encode_text(TEXTS)
    logits = pair.ours.logit_scale * image_features @ text_features.T
    assert logits.std() > 1  # texts and images differ
    torch.testing.assert_close(logits.double(), theirs, atol=5e-6, rtol=1e-6)  # our features are float32 at the end


def test_each_text_alone(pair: Pair) -> None:
    """Hugging Face is given no padding at all, so neither its mask nor ours can matter to the other."""
    with torch.no_grad():
        for text, feature in zip(TEXTS, pair.ours.encode_text(TEXTS), strict=True):
            tokens = torch.tensor([[49406, *pair.ours.bpe(text), 49407]])
            theirs = pair.theirs.get_text_features(input_ids=tokens).pooler_output
            torch.testing.assert_close(feature[None].double(), torch.nn.functional.normalize(theirs), atol=2e-7, rtol=0)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("n_ctx", [1, 4, 16])
def test_soft_prompts_and_their_gradient(pair: Pair, position: str, n_ctx: int) -> None:
    """Hugging Face reads soft prompts as words: its table of token embeddings holds ctx at ids that no text uses."""
    learner = ContextLearner.create(LearnerConfig(n_ctx=n_ctx, class_position=position), pair.ours, ()).double()
    with torch.no_grad():
        learner.ctx.copy_(torch.randn_like(learner.ctx))
    target = torch.randn(len(NAMES), 32, dtype=torch.float64)
    ours = encode_prompts(pair.ours.model, learner(tokenize_names(pair.ours, NAMES, n_ctx)))
    (ours * target).sum().backward()

    table = pair.theirs.text_model.embeddings.token_embedding.weight
    table.grad = None
    kept = table.detach()[UNUSED : UNUSED + n_ctx].clone()
    with torch.no_grad():
        table[UNUSED : UNUSED + n_ctx] = learner.ctx
    tokens = torch.full((len(NAMES), 77), 49407)
    context = list(range(UNUSED, UNUSED + n_ctx))
    before = {"end": n_ctx, "middle": n_ctx // 2, "front": 0}[position]
    for row, name in zip(tokens, NAMES, strict=True):
        body = pair.ours.bpe(name.replace("_", " "))
        text = [49406, *context[:before], *body, *context[before:], *pair.ours.bpe("."), 49407]
        row[: len(text)] = torch.tensor(text)
    theirs = torch.nn.functional.normalize(pair.theirs.get_text_features(input_ids=tokens).pooler_output)
    (theirs * target).sum().backward()
    with torch.no_grad():
        table[UNUSED : UNUSED + n_ctx] = kept

    torch.testing.assert_close(ours.double(), theirs, atol=2e-7, rtol=0)
    gradient = table.grad[UNUSED : UNUSED + n_ctx]
    assert (learner.ctx.grad - gradient).norm() < 1e-6 * gradient.norm()


def test_a_context_of_words(pair: Pair) -> None:
    """With ctx_init the untouched learner is the text itself."""
    learner = ContextLearner.create(LearnerConfig(ctx_init="a photo of a"), pair.ours, ())
    with torch.no_grad():
        ours = encode_prompts(pair.ours.model, learner(tokenize_names(pair.ours, NAMES, learner.config.n_ctx)))
        tokens = pair.ours.tokenize([f"a photo of a {name.replace('_', ' ')}." for name in NAMES])
        theirs = pair.theirs.get_text_features(input_ids=tokens).pooler_output
    torch.testing.assert_close(ours.double(), torch.nn.functional.normalize(theirs), atol=2e-7, rtol=0)
