"""Training views are torchvision's, drawn from a generator that belongs to one view of one image."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from scipy.stats import kstest
from torchvision import transforms

from candor.clip import Backbone
from training.augment import AugmentConfig, ImageSettings, View, apply_view, draw_view, view_generator

OFFICIAL = AugmentConfig(views=1)
SETTINGS = ImageSettings((32, 48), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), transforms.InterpolationMode.BICUBIC)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(64, 64), (200, 120), (31, 97), (3, 400), (400, 3), (1, 1)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.5, 0.6), (1.0, 1.0)])
def test_draws_are_torchvisions_under_an_equal_generator(size: tuple[int, int], scale: tuple[float, float]) -> None:
    image = picture(*size)
    for seed in range(40):
        torch.manual_seed(seed)
        expected = transforms.RandomResizedCrop.get_params(image, list(scale), [3 / 4, 4 / 3])
        mirrored = bool(torch.rand(1) < 0.5)
        drawn = draw_view(*size, AugmentConfig(views=1, scale=scale), generator(seed))
        assert (drawn.top, drawn.left, drawn.height, drawn.width, drawn.flip) == (*expected, mirrored)


def test_a_view_is_the_official_transform() -> None:
    """CoOp's train transform, as Dassl builds it, with the global generator where ours has one of its own."""
    official = transforms.Compose(
        [
            transforms.RandomResizedCrop(
                SETTINGS.size, (0.08, 1.0), interpolation=transforms.InterpolationMode.BICUBIC, antialias=True
            ),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(SETTINGS.mean, SETTINGS.std),
        ]
    )
    image = picture(150, 90)
    for seed in range(10):
        torch.manual_seed(seed)
        expected = official(image)
        ours = apply_view(image, draw_view(150, 90, OFFICIAL, generator(seed)), SETTINGS)
        assert ours.shape == (3, 32, 48)
        assert torch.equal(ours, expected)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    draw_view(64, 64, OFFICIAL, view_generator(1, b"x", 0))
    assert torch.equal(before, torch.random.get_rng_state())


def test_area_ratio_place_and_flip_have_the_distribution_they_should() -> None:
    """On a square of 1000 pixels: area uniform among those that fit, left uniform in its room, flips even."""
    views = [
        draw_view(1000, 1000, AugmentConfig(views=1, scale=(0.1, 0.5)), view_generator(0, b"", v)) for v in range(3000)
    ]
    area = [v.width * v.height / 1e6 for v in views]
    log_ratio = [math.log(v.width / v.height) for v in views]
    # the greatest crop is 0.5 in area and 4/3 in ratio, 816 x 612 pixels: every draw fits, so nothing bends the laws
    assert max(max(v.width, v.height) for v in views) <= 817
    assert kstest(area, "uniform", (0.1, 0.4)).pvalue > 0.01
    assert kstest(log_ratio, "uniform", (math.log(3 / 4), math.log(16 / 9))).pvalue > 0.01
    assert kstest([v.left / (1000 - v.width) for v in views], "uniform").pvalue > 0.01
    assert kstest([v.top / (1000 - v.height) for v in views], "uniform").pvalue > 0.01
    assert abs(sum(v.flip for v in views) / 3000 - 0.5) < 0.03  # 3.3 standard errors


def test_views_of_an_image_are_told_apart_by_seed_content_and_number_only() -> None:
    def draw(seed: int, content: bytes, view: int) -> View:
        return draw_view(640, 480, OFFICIAL, view_generator(seed, hashlib.sha256(content).digest(), view))

    assert draw(1, b"a", 0) == draw(1, b"a", 0)
    others = [draw(1, b"a", 0), draw(2, b"a", 0), draw(1, b"b", 0), draw(1, b"a", 1), draw(11, b"a", 0), draw(1, b"a", 11)]
    assert len(set(others)) == 6


def test_no_flip_keeps_the_crops() -> None:
    for seed in range(20):
        flipped = draw_view(64, 48, OFFICIAL, generator(seed))
        plain = draw_view(64, 48, AugmentConfig(views=1, flip=False), generator(seed))
        assert plain == View(flipped.top, flipped.left, flipped.height, flipped.width, False)


def test_flip_mirrors_left_and_right() -> None:
    """Two pixels, white and black, at the size they have: (1 - mean) / std and (0 - mean) / std."""
    image = Image.fromarray(np.array([[[255] * 3, [0] * 3]], np.uint8))
    settings = ImageSettings((1, 2), (0.5,) * 3, (0.25,) * 3, transforms.InterpolationMode.BICUBIC)
    assert apply_view(image, View(0, 0, 1, 2, False), settings)[0].tolist() == [[2.0, -2.0]]
    assert apply_view(image, View(0, 0, 1, 2, True), settings)[0].tolist() == [[-2.0, 2.0]]


def test_settings_are_the_backbones_own(tiny_clip: Backbone) -> None:
    settings = ImageSettings.of(tiny_clip)
    assert settings.size == (64, 64)
    assert settings.mean == (0.48145466, 0.4578275, 0.40821073)
    assert settings.std == (0.26862954, 0.26130258, 0.27577711)
    assert settings.interpolation is transforms.InterpolationMode.BICUBIC
    # a view that is the whole of a picture of the backbone's size is the test transform
    image = picture(64, 64)
    assert torch.equal(apply_view(image, View(0, 0, 64, 64, False), settings), tiny_clip.preprocess(image))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"views": -1}, "greater than or equal to 0"),
        ({"scale": (0.5, 0.2)}, "0 < least <= greatest <= 1, got 0.5 and 0.2"),
        ({"scale": (0.0, 1.0)}, "got 0.0 and 1.0"),
        ({"scale": (0.1, 1.5)}, "got 0.1 and 1.5"),
        ({"scale": (float("nan"), 1.0)}, "got nan"),
        ({"rotate": 5}, "rotate"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AugmentConfig.model_validate(wrong)
