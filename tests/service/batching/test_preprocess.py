"""The transform in two halves gives the very numbers of open_clip's; a JPEG decoded small, the same features nearly."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image, ImageDraw
from torchvision import transforms

from candor.clip.backbone import Backbone
from glyph_world.colours import COLOURS
from glyph_world.pictograms import PICTOGRAMS
from glyph_world.render import Scene, render
from glyph_world.styles import STYLES
from service.batching.images import decode_image
from service.batching.preprocess import Preprocessing
from service.batching.tower import DRAFT_MARGIN

CPU = torch.device("cpu")


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8))


def configuration(model: str) -> PreprocessCfg:
    found = open_clip.get_model_config(model)
    size = found["vision_cfg"].get("image_size", 224)
    tags = open_clip.list_pretrained_tags_by_model(model)
    chosen = open_clip.get_pretrained_cfg(model, tags[0])
    known = {k: chosen[k] for k in ("mean", "std", "interpolation", "resize_mode") if chosen.get(k)}
    return PreprocessCfg(size=size, **known)


CONFIGURATIONS = [
    *(configuration(name) for name in ("ViT-B-32", "ViT-L-14-336", "ViT-B-16-SigLIP", "convnext_base_w")),
    PreprocessCfg(size=64, resize_mode="longest", fill_color=127),
    PreprocessCfg(size=(48, 64), resize_mode="shortest"),
    PreprocessCfg(size=(64, 48), resize_mode="squash", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3),
]


@pytest.mark.parametrize("settings", CONFIGURATIONS, ids=str)
def test_every_setting_of_open_clip_to_the_last_bit(settings: PreprocessCfg) -> None:
    transform = image_transform_v2(settings, is_train=False)
    preprocessing = Preprocessing(transform)
    assert preprocessing.is_known
    images = [picture(*size) for size in ((224, 224), (300, 200), (41, 500), (7, 5), (64, 64), (1, 1))]
    pictures = [preprocessing.picture(image) for image in images]
    assert {p.dtype for p in pictures} == {torch.uint8}
    expected = torch.stack([transform(image) for image in images])
    assert torch.equal(preprocessing.batch(pictures, CPU), expected)


def test_the_settings_are_not_all_alike() -> None:
    assert len({(s.size, s.mean, s.std, s.interpolation, s.resize_mode) for s in CONFIGURATIONS}) == len(CONFIGURATIONS)


def test_the_backbone_of_the_tests(tiny_clip: Backbone) -> None:
    preprocessing = Preprocessing(tiny_clip.preprocess)
    assert preprocessing.is_known
    image = picture(90, 70)
    together = preprocessing.batch([preprocessing.picture(image)] * 2, CPU)
    assert torch.equal(together, torch.stack([tiny_clip.preprocess(image)] * 2))


@pytest.mark.parametrize(
    "transform",
    [
        transforms.ToTensor(),
        transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()]),
        transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]),
        transforms.Compose([transforms.RandomCrop(8), *image_transform_v2(PreprocessCfg(size=8), False).transforms[-3:]]),
        lambda image: torch.full((3, 2, 2), 0.3),
    ],
)
def test_a_transform_of_somebody_else_runs_as_it_is(transform: object) -> None:
    preprocessing = Preprocessing(transform)  # type: ignore[arg-type]
    assert not preprocessing.is_known
    image = picture(8, 8)
    assert torch.equal(preprocessing.batch([preprocessing.picture(image)], CPU)[0], transform(image))  # type: ignore[operator]


def noise(power: float) -> Image.Image:
    """Noise whose amplitude falls with frequency as in photographs (power 1), or less: harder than any."""
    shape, rng = (900, 1300), np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    frequency[0, 0] = 1
    spectra = rng.normal(size=(3, *frequency.shape)) * np.exp(2j * np.pi * rng.random((3, *frequency.shape)))
    waves = np.fft.irfft2(spectra / frequency**power, shape)
    waves /= waves.std(axis=(1, 2), keepdims=True)
    return Image.fromarray(np.clip(waves * 60 + 128, 0, 255).astype(np.uint8).transpose(1, 2, 0).copy())


def stripes(period: float) -> Image.Image:
    wave = np.sin(2 * np.pi * (np.arange(1300)[None] + 0.3 * np.arange(900)[:, None]) / period) > 0
    grey = wave.astype(np.uint8) * 255
    return Image.fromarray(np.stack([grey, 255 - grey, grey], axis=-1))


def print_of_text() -> Image.Image:
    page = Image.new("RGB", (1300, 900), "white")
    for y in range(0, 900, 14):
        ImageDraw.Draw(page).text((5, y), "The quick brown fox jumps over the lazy dog 0123456789 " * 8, "navy")
    return page


@pytest.mark.parametrize(
    "make", [lambda: noise(1), lambda: noise(0.5), lambda: stripes(7.3), lambda: stripes(14.6), print_of_text]
)
def test_a_jpeg_decoded_small_has_nearly_the_same_features(glyph_clip: Backbone, make: object) -> None:
    buffer = BytesIO()
    make().save(buffer, "JPEG", quality=90)  # type: ignore[operator]
    whole, small = (decode_image(buffer.getvalue(), 10**7, at_least=least) for least in (None, 128))
    assert (whole.size, small.size) == ((1300, 900), (325, 225))  # of 1/2, 1/4 and 1/8 the smallest that is enough
    a, b = glyph_clip.encode_image(torch.stack([glyph_clip.preprocess(image) for image in (whole, small)]))
    assert 0 < 1 - float(a.double() @ b.double()) < 1e-2


@pytest.mark.parametrize("grain", [0, 40])
def test_a_jpeg_decoded_small_has_nearly_the_same_scores(glyph_clip: Backbone, grain: float) -> None:
    """Drawings of the glyph world as a camera would give them: 2000 x 1500, with grain or without."""
    colours, things, styles = list(COLOURS)[:4], list(PICTOGRAMS)[:10], list(STYLES)
    text = glyph_clip.encode_text([f"a {colour} {thing}." for colour in colours for thing in things]).double()
    rng, moved = np.random.default_rng(0), []
    for n in range(8):
        drawing = render(Scene(things[n], colours[n % 4], styles[n % len(styles)], n)).resize((2000, 1500))
        noisy = np.asarray(drawing, np.float32) + grain * rng.standard_normal((1500, 2000, 3), np.float32)
        buffer = BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        least = DRAFT_MARGIN * 64
        files = [decode_image(buffer.getvalue(), 10**7, at_least=size) for size in (None, least)]
        assert [file.width for file in files] == [2000, 500]
        features = glyph_clip.encode_image(torch.stack([glyph_clip.preprocess(file) for file in files])).double()
        whole, small = (glyph_clip.logit_scale * features @ text.T).softmax(-1)
        moved.append(float((whole - small).abs().max()))
    assert 0 < max(moved) < 0.03, moved  # with a margin of 2 it is 0.046 without grain, 0.035 with


def test_only_large_jpegs_are_decoded_small() -> None:
    for format, size in (("PNG", (1300, 900)), ("JPEG", (255, 1000))):
        buffer = BytesIO()
        picture(*size).save(buffer, format)
        assert decode_image(buffer.getvalue(), 10**7, at_least=128).size == size


def test_a_picture_held_sideways_is_turned_all_the_same() -> None:
    exif, buffer = Image.Exif(), BytesIO()
    exif[0x0112] = 6
    picture(1000, 600).save(buffer, "JPEG", exif=exif)
    assert decode_image(buffer.getvalue(), 10**7, at_least=128).size == (150, 250)
