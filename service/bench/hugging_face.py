"""What most people serve today: a transformers zero-shot pipeline, here with the same weights as the service.

transformers is imported when it is needed: the service itself does without.
"""

from __future__ import annotations

import importlib
import io
from functools import cache
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from candor.clip.backbone import Backbone
from service.bench.cells import Turn
from service.bench.raw import Weights, load, repeat

BLOCK = {  # open_clip's name of a part of a block -> Hugging Face's
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
WHOLE = {  # open_clip's name of everything else -> Hugging Face's, and whether it is stored transposed there
    "logit_scale": ("logit_scale", False),
    "token_embedding.weight": ("text_model.embeddings.token_embedding.weight", False),
    "positional_embedding": ("text_model.embeddings.position_embedding.weight", False),
    "ln_final.weight": ("text_model.final_layer_norm.weight", False),
    "ln_final.bias": ("text_model.final_layer_norm.bias", False),
    "text_projection": ("text_projection.weight", True),
    "visual.class_embedding": ("vision_model.embeddings.class_embedding", False),
    "visual.conv1.weight": ("vision_model.embeddings.patch_embedding.weight", False),
    "visual.positional_embedding": ("vision_model.embeddings.position_embedding.weight", False),
    "visual.ln_pre.weight": ("vision_model.pre_layrnorm.weight", False),
    "visual.ln_pre.bias": ("vision_model.pre_layrnorm.bias", False),
    "visual.ln_post.weight": ("vision_model.post_layernorm.weight", False),
    "visual.ln_post.bias": ("vision_model.post_layernorm.bias", False),
    "visual.proj": ("visual_projection.weight", True),
}


def pipeline_turn(weights: Weights, images: list[bytes], labels: tuple[str, ...], template: str, seconds: float) -> Turn:
    """One call after the other, each with an image file and all labels, as a plain handler makes them; no HTTP at all.

    Returns:
        A turn with a latency a call.
    """
    numbers = iter(range(10**9))
    classify(weights, images[0], labels, template)
    return repeat(lambda: classify(weights, images[next(numbers) % len(images)], labels, template), 1, seconds)


def classify(weights: Weights, image: bytes, labels: tuple[str, ...], template: str) -> dict[str, float]:
    """The pipeline's probability of each label."""
    load(weights)  # and its threads
    picture = Image.open(io.BytesIO(image))
    found = _pipeline(weights)(picture, candidate_labels=list(labels), hypothesis_template=template)
    return {score["label"]: score["score"] for score in found}


@cache
def _pipeline(weights: Weights) -> Any:
    return zero_shot_pipeline(load(weights))


def zero_shot_pipeline(backbone: Backbone) -> Any:
    """A model's weights in transformers' zero-shot-image-classification pipeline.

    Args:
        backbone: with a Vision Transformer as its image tower.
    """
    transformers: Any = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    height, width = backbone.model.visual.image_size
    size = {"height": height, "width": width}
    vocabulary = dict(backbone.tokenizer.encoder)
    ends = {"<|startoftext|>": backbone.tokenizer.sot_token_id, "<|endoftext|>": backbone.tokenizer.eot_token_id}
    words = {word: number for word, number in vocabulary.items() if number not in ends.values()}
    return transformers.pipeline(
        "zero-shot-image-classification",
        model=clip_model(backbone),
        tokenizer=transformers.CLIPTokenizer(vocab=words | ends, merges=list(backbone.tokenizer.bpe_ranks)),
        image_processor=transformers.CLIPImageProcessor(size={"shortest_edge": height}, crop_size=size),
    )


def clip_model(backbone: Backbone) -> Any:
    """transformers.CLIPModel of the same architecture, with the same weights, loaded strictly."""
    transformers: Any = importlib.import_module("transformers")
    ours = backbone.model
    towers = {"text": _shape(ours.transformer), "vision": _shape(ours.visual.transformer)}
    positions, vocabulary = ours.positional_embedding.shape[0], ours.token_embedding.weight.shape[0]
    patch, size = ours.visual.conv1.kernel_size[0], ours.visual.image_size[0]
    text = {"vocab_size": vocabulary, "max_position_embeddings": positions, "eos_token_id": backbone.tokenizer.eot_token_id}
    dimension = backbone.embed_dim
    config = transformers.CLIPConfig(
        text_config=towers["text"] | text | {"projection_dim": dimension},
        vision_config=towers["vision"] | {"image_size": size, "patch_size": patch, "projection_dim": dimension},
        projection_dim=dimension,
    )
    model = transformers.CLIPModel(config).eval()
    model.load_state_dict(hugging_face_names(ours.state_dict()))
    return model


def _shape(tower: Any) -> dict[str, Any]:
    block = tower.resblocks[0]
    return {
        "hidden_size": block.attn.embed_dim,
        "intermediate_size": block.mlp.c_fc.out_features,
        "num_hidden_layers": len(tower.resblocks),
        "num_attention_heads": block.attn.num_heads,
        "hidden_act": "gelu" if isinstance(block.mlp.gelu, torch.nn.GELU) else "quick_gelu",
    }


def hugging_face_names(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's weights under Hugging Face's names; every one of them is used, and once."""
    theirs: dict[str, Tensor] = {}
    for name, value in ours.items():
        if name in WHOLE:
            new, transposed = WHOLE[name]
            theirs[new] = value.T if transposed else value
            continue
        before, after = name.split("resblocks.")
        layer, part = after.split(".", 1)
        block = f"{'vision' if before.startswith('visual') else 'text'}_model.encoder.layers.{layer}."
        part, kind = part.rsplit(".", 1)
        if kind.startswith("in_proj_"):
            for projection, third in zip("qkv", value.chunk(3), strict=True):
                theirs[f"{block}self_attn.{projection}_proj.{kind.removeprefix('in_proj_')}"] = third
        else:
            theirs[f"{block}{BLOCK[part]}.{kind}"] = value
    return theirs
