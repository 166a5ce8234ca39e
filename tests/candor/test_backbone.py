"""Loading is strict, and what cannot work says why."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import glyph_world
from candor.clip import load_backbone, tokenize_names
from candor.clip.backbone import Backbone, weights_digest
from candor.errors import CandorError, IntegrityError, InvalidInput


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ViT-B-61",), "unknown model 'ViT-B-61'; did you mean ViT-B-16"),
        (("ViT-B-32", "openia"), "unknown weights 'openia' for ViT-B-32; valid: openai"),
        (("ViT-B-32", None), "unknown weights None"),
        (("ViT-B-16", "openai"), "use ViT-B-16-quickgelu"),
        (("glyph-clip", "random", "tpu0"), "unknown device 'tpu0'"),
        (("glyph-clip", "random", "mps"), "unknown device 'mps'; use 'cpu', 'cuda' or 'cuda:N'"),
        (("glyph-clip", "random", "meta"), "unknown device 'meta'"),
        (("glyph-clip", "random", "cpu", "int3"), "unknown precision 'int3'; valid: fp32, bf16, fp16"),
    ],
)
def test_what_cannot_be_loaded_is_named(tiny_clip: Backbone, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load_backbone(*arguments)


def test_a_pickle_is_refused(tiny_clip: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({}, path)
    with pytest.raises(InvalidInput, match="no pickle is ever loaded"):
        load_backbone("glyph-clip", str(path))


def test_damaged_weights_are_an_error_of_one_sentence(glyph_clip: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(glyph_world.MODEL_WEIGHTS.read_bytes()[:1000])
    with pytest.raises(CandorError, match=r"weights\.safetensors"):
        load_backbone("glyph-clip", str(path))


def test_weights_of_another_shape_are_refused(glyph_clip: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    weights = load_file(glyph_world.MODEL_WEIGHTS)
    weights["text_projection"] = torch.zeros(96, 32)
    save_file(weights, path)
    with pytest.raises(IntegrityError, match="weights of glyph-clip"):
        load_backbone("glyph-clip", str(path))


def test_the_digest_follows_the_weights_not_the_path(glyph_clip: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "copy.safetensors"
    path.write_bytes(glyph_world.MODEL_WEIGHTS.read_bytes())
    copy = load_backbone("glyph-clip", str(path))
    assert copy.digest == glyph_clip.digest
    copy.model.logit_scale.data += 1
    assert weights_digest(copy.model) != glyph_clip.digest


def test_texts_that_do_not_fit_are_all_named(tiny_clip: Backbone) -> None:
    with pytest.raises(InvalidInput, match=r"'x x x.*' \(90 tokens\), 'y y"):
        tiny_clip.tokenize(["fits", "x " * 90, "y " * 76])
    assert tiny_clip.tokenize(["y " * 75])[0, -1] == tiny_clip.tokenizer.eot_token_id


def test_the_context_takes_room_from_the_name(tiny_clip: Backbone) -> None:
    name = "x " * 58 + "x"  # 59 tokens, and "." is one more
    assert len(tokenize_names(tiny_clip, [name], 15)) == 1  # 2 + 15 + 60 = 77
    with pytest.raises(InvalidInput, match=r"60 tokens.*|room for 59"):
        tokenize_names(tiny_clip, [name], 16)


@pytest.mark.parametrize("text", ["", " \n", "<end_of_text>", "cat <start_of_text> dog"])
def test_texts_that_are_no_text_are_refused(tiny_clip: Backbone, text: str) -> None:
    with pytest.raises(InvalidInput):
        tiny_clip.tokenize(["cat", text])


def test_image_features_do_not_depend_on_the_batch(glyph_clip: Backbone) -> None:
    images = [Image.effect_noise((64, 64), sigma).convert("RGB") for sigma in (10, 50, 90)]
    together = glyph_clip.encode_images(images)
    alone = torch.cat([glyph_clip.encode_images([image], batch_size=1) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(3))


def test_bf16_weights_still_give_float32_features(glyph_clip: Backbone) -> None:
    half = load_backbone("glyph-clip", precision="bf16")
    image, text = torch.zeros(1, 3, 64, 64), ["a picture of a red umbrella."]
    assert half.encode_image(image).dtype == half.encode_text(text).dtype == torch.float32
    assert (half.encode_text(text) @ glyph_clip.encode_text(text).T).item() > 0.99


@pytest.mark.parametrize("template", ["a photo of a {}.", "{}"])
def test_batches_that_share_a_prefix_are_each_text_by_itself(tiny_clip: Backbone, template: str) -> None:
    texts = [template.replace("{}", name) for name in ("sun", "a very long name of many words", "cat", "old dog", "cat")]
    alone = torch.cat([tiny_clip.encode_text([text]) for text in texts])
    for batch_size in (1, 2, 5):
        torch.testing.assert_close(tiny_clip.encode_text(texts, batch_size), alone, atol=1e-6, rtol=1e-5)


def test_token_ids_are_framed_and_padded(tiny_clip: Backbone) -> None:
    start, end = tiny_clip.tokenizer.sot_token_id, tiny_clip.tokenizer.eot_token_id
    assert tiny_clip.frame([[5], [7, 8, 9]]).tolist() == [[start, 5, end, 0, 0], [start, 7, 8, 9, end]]
