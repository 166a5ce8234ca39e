"""The world: honest pictures, reproducible, and hard enough."""

from __future__ import annotations

import json

import numpy as np
import open_clip
import pytest
from matplotlib.ft2font import FT2Font
from PIL import Image

import glyph_world
from candor.errors import InvalidInput
from glyph_world import TEMPLATE
from glyph_world.captions import PLAIN, STYLED, caption
from glyph_world.colours import COLOURS
from glyph_world.pictograms import FAMILIES, PICTOGRAMS
from glyph_world.pretrain import BatchSampler, PretrainConfig, draw_scenes
from glyph_world.render import FONTS, IMAGE_SIZE, Scene, _font, render
from glyph_world.styles import STYLES, smooth
from glyph_world.tasks import DEVELOPMENT_TASKS, TASKS
from glyph_world.temperature import auxiliary_label_sets
from glyph_world.vocabulary import phrases


def test_the_world_is_as_large_as_it_says() -> None:
    assert len(PICTOGRAMS) >= 150
    assert len(set(PICTOGRAMS.values())) == len(PICTOGRAMS) == sum(map(len, FAMILIES.values()))
    assert len(COLOURS) >= 10
    assert len(STYLES) >= 4
    assert len(phrases()) == len(set(phrases())) > 10_000


@pytest.mark.parametrize("name", FONTS)
def test_the_fonts_have_every_pictogram(name: str) -> None:
    known = FT2Font(_font(name, 64).path).get_charmap()
    assert [sign for sign in PICTOGRAMS.values() if ord(sign) not in known] == []


def test_equal_scenes_are_equal_pixels_and_seeds_differ() -> None:
    scene = Scene("umbrella", "red", "chalk drawing", 5)
    assert np.array_equal(render(scene), render(scene))
    assert not np.array_equal(render(scene), render(Scene("umbrella", "red", "chalk drawing", 6)))


@pytest.mark.parametrize("style", STYLES)
def test_every_style_shows_shape_and_colour(style: str) -> None:
    def mean(pictogram: str, colour: str) -> np.ndarray:
        return np.mean([np.asarray(render(Scene(pictogram, colour, style, s)), np.float64) for s in range(60)], axis=0)

    red, blue = mean("circle", "red"), mean("circle", "blue")
    centre = slice(IMAGE_SIZE // 3, 2 * IMAGE_SIZE // 3)
    contrast = (red - blue)[centre, centre].mean(axis=(0, 1))
    assert contrast[0] > 10  # redder
    assert contrast[2] < -10  # less blue


def test_unknown_things_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"unknown colour 'rde'; the glyph world has: amber"):
        Scene("umbrella", "rde", "drawing", 0)


def test_smooth_by_hand() -> None:
    spot = np.zeros((5, 5), np.float32)
    spot[2, 2] = 16
    assert smooth(spot, 1)[1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert smooth(spot, 3).sum() == pytest.approx(16, rel=0.05)


def test_captions_name_what_is_shown() -> None:
    scene, rng = Scene("umbrella", "teal", "neon sign", 0), np.random.default_rng(0)
    texts = [caption(scene, rng) for _ in range(400)]
    assert all("umbrella" in text or "teal thing" in text for text in texts)
    assert 0.3 < np.mean(["neon sign" in text for text in texts]) < 0.7
    assert PLAIN[0] == TEMPLATE
    lengths = [len(open_clip.get_tokenizer("ViT-B-32").encode(t.format("x", style="y"))) for t in PLAIN + STYLED]
    assert min(lengths) <= 3
    assert max(lengths) >= 17  # as long as a prompt of 16 context vectors and a name


def test_tasks_are_fine_grained_and_apart_from_development() -> None:
    assert len(TASKS) >= 3
    for task in (TASKS | DEVELOPMENT_TASKS).values():
        half = (len(task.labels) + 1) // 2
        assert 12 <= half <= 25
        assert 12 <= len(task.labels) - half <= 25
        scenes = task.scenes("test", 2)
        assert scenes == task.scenes("test", 2)
        assert {s.style for _, s in scenes} == {task.style}
        assert {s.seed for _, s in scenes}.isdisjoint(s.seed for _, s in task.scenes("train", 2))

    def signs(tasks: list[object]) -> set[str]:
        return {sign for task in tasks for shown, _ in task.labels.values() for sign in shown}

    reported = signs(list(TASKS.values()))
    assert reported.isdisjoint(signs(list(DEVELOPMENT_TASKS.values())))
    assert reported.isdisjoint(signs(auxiliary_label_sets(40, 0)))


def test_the_embedded_model_is_an_ordinary_open_clip_model() -> None:
    glyph_world.register()
    assert "glyph-clip" in open_clip.list_models()
    assert open_clip.get_model_config("glyph-clip") == json.loads(glyph_world.MODEL_CONFIG.read_text())
    assert glyph_world.MODEL_WEIGHTS.stat().st_size <= 12_000_000


def test_batches_of_neighbours() -> None:
    config = PretrainConfig(neighbour_share=1.0, batch_size=64, group_size=16)
    scenes = draw_scenes(3000, 0)
    picks = BatchSampler(scenes, config).batch()
    family = {name: family for family, names in FAMILIES.items() for name in names}
    for group in picks.reshape(4, 16):
        assert len({family[scenes[i].pictogram] for i in group}) == 1


def test_a_picture_is_what_open_clip_expects() -> None:
    image = render(Scene("snowman", "white", "watercolour", 0))
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("RGB", (64, 64))
