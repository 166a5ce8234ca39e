"""Features of samples: the backbone's own, once each, whatever is kept and whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from candor.clip import Backbone, load_backbone
from candor.errors import IntegrityError, InvalidInput
from candor.images import UnreadableImage
from training.augment import AugmentConfig, ImageSettings, apply_view, draw_view, view_generator
from training.data import Sample, in_scope
from training.datasets import image_sample, load_dataset
from training.features import FeatureCache, FreshViews, encode_samples, readable_samples
from training.views import ViewMaker, content_of, picture_of

VIEWS = AugmentConfig(views=3)


@dataclass(frozen=True)
class CountingBackbone(Backbone):
    """Counts the pictures that reach the tower, blank ones left out."""

    seen: list[int] = field(default_factory=list)

    def encode_image(self, images: Tensor) -> Tensor:
        self.seen.append(int((images.abs().amax(dim=(1, 2, 3)) > 0).sum()))
        return super().encode_image(images)


@pytest.fixture
def clip(glyph_clip: Backbone) -> CountingBackbone:
    """The trained one: a tower with random weights sees little difference between pictures."""
    return CountingBackbone(**{name: getattr(glyph_clip, name) for name in Backbone.__dataclass_fields__})


def picture(number: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    """Patches of random colour, so that each crop is another picture."""
    patches = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.NEAREST)


@pytest.fixture
def opened() -> list[Path]:
    return []


@pytest.fixture
def photographs(tmp_path: Path, opened: list[Path]) -> list[Sample]:
    """Forty files, more than one batch and no multiple of one; every opening is noted."""

    def sample(number: int) -> Sample:
        path = tmp_path / f"{number:02}.png"
        picture(number, (50 + number, 90 - number)).save(path)
        plain = image_sample(number % 4, path)

        def noted() -> Image.Image:
            opened.append(path)
            return plain.open()

        return replace(plain, open=noted)

    return [sample(number) for number in range(40)]


def test_without_views_features_are_the_backbones_own(clip: CountingBackbone, photographs: list[Sample]) -> None:
    encoded = encode_samples(clip, photographs)
    expected = clip.encode_images([s.open() for s in photographs])
    assert encoded.image_features.shape == (40, 1, clip.embed_dim)
    torch.testing.assert_close(encoded.image_features[:, 0], expected, rtol=0, atol=1e-6)
    assert encoded.labels.tolist() == [0, 1, 2, 3] * 10
    assert encoded.skipped == ()


def test_views_are_the_training_transform_and_are_normalised_once(
    clip: CountingBackbone, photographs: list[Sample]
) -> None:
    encoded = encode_samples(clip, photographs[:3], augment=VIEWS, seed=7)
    assert encoded.image_features.shape == (3, 3, clip.embed_dim)
    for i, sample in enumerate(photographs[:3]):
        image, digest = sample.open(), content_of(sample).digest
        for view in range(3):
            drawn = draw_view(*image.size, VIEWS, view_generator(7, digest, view))
            shown = apply_view(image, drawn, ImageSettings.of(clip))
            expected = clip.encode_image(shown[None])[0]
            torch.testing.assert_close(encoded.image_features[i, view], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("augment", [AugmentConfig(), VIEWS])
def test_a_second_call_gives_the_same_bits_and_decodes_nothing(
    clip: CountingBackbone, photographs: list[Sample], opened: list[Path], tmp_path: Path, augment: AugmentConfig
) -> None:
    kept: dict[str, Any] = {"augment": augment, "cache": FeatureCache(tmp_path)}
    first = encode_samples(clip, photographs, **kept)
    assert len(opened) == 40
    assert sum(clip.seen) == 40 * max(augment.views, 1)
    second = encode_samples(clip, photographs, **kept)
    assert len(opened) == 40
    assert sum(clip.seen) == 40 * max(augment.views, 1)
    assert torch.equal(first.image_features, second.image_features)
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.image_features, encode_samples(clip, photographs, augment=augment).image_features)


def test_drawn_pictures_are_known_by_their_pixels(clip: CountingBackbone, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    samples = [Sample(0, lambda n=n: picture(n)) for n in (0, 1, 0)]  # type: ignore[misc]
    first = encode_samples(clip, samples, cache=cache).image_features
    seen = sum(clip.seen)
    assert torch.equal(first[0], first[2])
    assert torch.equal(first, encode_samples(clip, samples, cache=cache).image_features)
    assert sum(clip.seen) == seen
    # the same bytes in another shape are another picture
    turned = Sample(0, lambda: Image.frombytes("RGB", (60, 80), picture(0).tobytes()))
    assert not torch.equal(first[0], encode_samples(clip, [turned], cache=cache).image_features[0])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_feature_does_not_depend_on_its_neighbours(precision: str, photographs: list[Sample], tmp_path: Path) -> None:
    """To the bit: backwards, alone, and where a run that was cut short left some."""
    backbone = load_backbone("glyph-clip", precision=precision)
    whole = encode_samples(backbone, photographs, augment=VIEWS).image_features
    backwards = encode_samples(backbone, photographs[::-1], augment=VIEWS).image_features
    assert torch.equal(backwards.flip(0), whole)
    assert torch.equal(encode_samples(backbone, photographs[5:6], augment=VIEWS).image_features[0], whole[5])
    cache = FeatureCache(tmp_path)
    encode_samples(backbone, photographs[3:14], augment=AugmentConfig(views=2), cache=cache)
    assert torch.equal(encode_samples(backbone, photographs, augment=VIEWS, cache=cache).image_features, whole)


def test_more_views_are_added_to_those_that_are_there(
    clip: CountingBackbone, photographs: list[Sample], tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path)
    few = encode_samples(clip, photographs[:4], augment=AugmentConfig(views=2), cache=cache).image_features
    more = encode_samples(clip, photographs[:4], augment=AugmentConfig(views=5), cache=cache).image_features
    assert sum(clip.seen) == 4 * 5
    assert torch.equal(more[:, :2], few)
    assert len({tuple(feature) for feature in more.flatten(0, 1).tolist()}) == 20


def other_weights(backbone: CountingBackbone) -> CountingBackbone:
    torch.manual_seed(9)
    other = load_backbone("glyph-clip", "random")
    return replace(backbone, model=other.model, digest=other.digest)


def scaled(backbone: CountingBackbone, factor: float) -> CountingBackbone:
    """Another transform of the same text: one lambda is as good as another."""
    made = backbone.preprocess
    return replace(backbone, preprocess=lambda image: made(image) * factor)


SQUASHED = transforms.Compose([transforms.Resize((64, 64)), transforms.ToTensor()])
OTHER_BACKBONES: list[tuple[Callable[[CountingBackbone], CountingBackbone], AugmentConfig]] = [
    (other_weights, AugmentConfig()),
    (other_weights, VIEWS),
    (lambda b: replace(b, name="the same weights under another activation"), AugmentConfig()),
    (
        lambda b: replace(b, preprocess=transforms.Compose([transforms.Resize((64, 64)), transforms.ToTensor()])),
        AugmentConfig(),
    ),
    (lambda b: scaled(b, 0.5), AugmentConfig()),
]


@pytest.mark.parametrize(("change", "augment"), OTHER_BACKBONES)
def test_another_backbone_is_a_miss(
    clip: CountingBackbone,
    photographs: list[Sample],
    tmp_path: Path,
    change: Callable[[CountingBackbone], CountingBackbone],
    augment: AugmentConfig,
) -> None:
    clip = scaled(clip, 1.0)
    cache, count = FeatureCache(tmp_path), 2 * max(augment.views, 1)
    encode_samples(clip, photographs[:2], augment=augment, cache=cache)
    encode_samples(change(clip), photographs[:2], augment=augment, cache=cache)
    assert sum(clip.seen) == 2 * count
    encode_samples(clip, photographs[:2], augment=augment, cache=cache)
    encode_samples(change(clip), photographs[:2], augment=augment, cache=cache)
    assert sum(clip.seen) == 2 * count


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"augment": AugmentConfig(views=1, scale=(0.5, 1.0))},
        {"augment": AugmentConfig(views=1, flip=False)},
        {"augment": AugmentConfig()},
    ],
)
def test_another_seed_or_augmentation_is_a_miss(
    clip: CountingBackbone, photographs: list[Sample], tmp_path: Path, other: dict[str, Any]
) -> None:
    settings = {"augment": AugmentConfig(views=1), "seed": 0, "cache": FeatureCache(tmp_path)}
    encode_samples(clip, photographs[:2], **settings)
    encode_samples(clip, photographs[:2], **settings | other)
    assert sum(clip.seen) == 4


def test_without_views_the_seed_does_not_matter(clip: CountingBackbone, photographs: list[Sample], tmp_path: Path) -> None:
    for seed in (1, 2):
        encode_samples(clip, photographs[:2], seed=seed, cache=FeatureCache(tmp_path))
    assert sum(clip.seen) == 2


def test_a_changed_file_is_a_miss_and_a_copy_is_not(
    clip: CountingBackbone, photographs: list[Sample], opened: list[Path], tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path)
    before = encode_samples(clip, photographs[:2], cache=cache).image_features
    path = photographs[0].path
    assert path is not None
    copy = tmp_path / "copy.png"
    copy.write_bytes(path.read_bytes())
    assert torch.equal(encode_samples(clip, [image_sample(0, copy)], cache=cache).image_features[0], before[0])
    assert sum(clip.seen) == 2
    changed = np.asarray(picture(0, (50, 90))).copy()
    changed[45, 25, 0] ^= 0xFF
    Image.fromarray(changed).save(path)
    after = encode_samples(clip, photographs[:2], cache=cache).image_features
    assert opened[2:] == [path]
    assert not torch.equal(after[0], before[0])
    assert torch.equal(after[1], before[1])


def test_keys_are_equal_in_every_run(tiny_clip: Backbone) -> None:
    """The text of a transform holds the address of a function; two loads of one model must not differ by it."""
    torch.manual_seed(0)
    again = load_backbone("glyph-clip", "random")
    with_address = [replace(b, preprocess=transforms.Compose([b.preprocess, Halved()])) for b in (tiny_clip, again)]
    assert " at 0x" in str(with_address[0].preprocess)
    assert str(with_address[0].preprocess) != str(with_address[1].preprocess)
    prefixes = {ViewMaker(b, AugmentConfig(), 0).key_prefix(0) for b in with_address}
    assert len(prefixes) == 1


class Halved:
    """A step whose text is Python's own."""

    def __call__(self, pixels: Tensor) -> Tensor:
        return pixels / 2


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture(0).save(path)
    sample = image_sample(0, path)
    content = content_of(sample)
    picture(1).save(path)
    with pytest.raises(IntegrityError, match="changed while it was read"):
        picture_of(sample, content)


@pytest.fixture
def with_bad(photographs: list[Sample], tmp_path: Path) -> list[Sample]:
    """Three good ones, and among them one that is missing, one that is no image and one cut short."""
    (tmp_path / "text.png").write_text("not an image")
    whole = photographs[1].path.read_bytes()  # type: ignore[union-attr]
    (tmp_path / "short.png").write_bytes(whole[: len(whole) // 2])
    gone, text, short = (image_sample(9, tmp_path / f"{name}.png") for name in ("gone", "text", "short"))
    return [photographs[0], gone, photographs[1], text, short, photographs[2]]


def test_unreadable_images_are_an_error_that_names_all(
    clip: CountingBackbone, with_bad: list[Sample], opened: list[Path], tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path)
    with pytest.raises(
        InvalidInput,
        match=r"3 of 6 images cannot be read: .*gone\.png.*text\.png.*short\.png.*tune, evaluate and calibrate leave",
    ):
        encode_samples(clip, with_bad, cache=cache)
    # the readable ones were encoded and kept all the same
    seen = sum(clip.seen)
    assert seen == 3
    encoded = encode_samples(clip, with_bad, cache=cache, skip_bad=True)
    assert sum(clip.seen) == seen
    assert encoded.labels.tolist() == [0, 1, 2]
    assert [Path(text.split(":")[0]).name for text in encoded.skipped] == ["gone.png", "text.png", "short.png"]
    assert torch.equal(encoded.image_features, encode_samples(clip, [with_bad[i] for i in (0, 2, 5)]).image_features)


def test_readable_samples(with_bad: list[Sample]) -> None:
    with pytest.raises(InvalidInput, match="3 of 6 images cannot be read"):
        readable_samples(with_bad)
    kept, skipped = readable_samples(with_bad, skip_bad=True)
    assert kept == [with_bad[i] for i in (0, 2, 5)]
    assert len(skipped) == 3


def test_an_error_names_ten_and_counts_the_rest(clip: CountingBackbone, tmp_path: Path) -> None:
    samples = [image_sample(0, tmp_path / f"gone-{n:02}.png") for n in range(13)]
    with pytest.raises(InvalidInput, match=r"13 of 13 .*gone-09\.png.*; and 3 more") as caught:
        encode_samples(clip, samples)
    assert "gone-10" not in str(caught.value)
    nothing = encode_samples(clip, samples, augment=VIEWS, skip_bad=True)
    assert nothing.image_features.shape == (0, 3, clip.embed_dim)
    assert len(nothing.skipped) == 13


def test_no_samples_at_all(clip: CountingBackbone) -> None:
    nothing = encode_samples(clip, [])
    assert nothing.image_features.shape == (0, 1, clip.embed_dim)
    assert (nothing.labels.shape, nothing.labels.dtype, nothing.skipped) == ((0,), torch.int64, ())
    assert FreshViews(clip, [], VIEWS, 0)(torch.empty(0, dtype=torch.int64), 0).shape == (0, clip.embed_dim)


def test_progress_is_shown_a_step_a_sample(clip: CountingBackbone, photographs: list[Sample]) -> None:
    shown: list[tuple[int, str]] = []

    def bar(steps: Any, description: str) -> Any:
        shown.append((len(steps), description))
        return steps

    encode_samples(clip, photographs, progress=bar)
    assert shown == [(40, "encode images")]


def test_fresh_views_of_an_epoch_are_the_kept_view_of_that_number(
    clip: CountingBackbone, photographs: list[Sample]
) -> None:
    kept = encode_samples(clip, photographs, augment=VIEWS, seed=5).image_features
    fresh = FreshViews(clip, photographs, VIEWS, seed=5)
    rows = torch.tensor([7, 3, 39, 3])
    for epoch in range(3):
        torch.testing.assert_close(fresh(rows, epoch), kept[rows, epoch], rtol=0, atol=1e-6)
    assert torch.equal(fresh(rows, 50), fresh(rows, 50))
    assert not torch.allclose(fresh(rows, 50), fresh(rows, 51), atol=1e-3)


def test_fresh_features_without_chance(clip: CountingBackbone, photographs: list[Sample]) -> None:
    plain = FreshViews(clip, photographs, AugmentConfig(), seed=5)(torch.tensor([2, 0]), 9)
    expected = encode_samples(clip, photographs[:3]).image_features[[2, 0], 0]
    torch.testing.assert_close(plain, expected, rtol=0, atol=1e-6)


def test_fresh_views_name_a_file_that_went_away(clip: CountingBackbone, with_bad: list[Sample]) -> None:
    with pytest.raises(UnreadableImage, match=r"gone\.png"):
        FreshViews(clip, with_bad, VIEWS, seed=0)(torch.tensor([0, 1]), 0)


def test_photographs_in_folders_of_every_mode(clip: CountingBackbone, tmp_path: Path) -> None:
    """Greyscale, CMYK, palette, 16-bit, transparent and tiny ones, under names with underscores."""
    root = tmp_path / "photos"
    modes = {"L": "jpg", "CMYK": "jpg", "P": "png", "I;16": "png", "RGBA": "png", "LA": "png", "1": "png", "RGB": "webp"}
    for c, name in enumerate(["red_fox", "sea_lion", "tree_frog", "barn_owl"]):
        (root / name).mkdir(parents=True)
        for i, (mode, suffix) in enumerate(modes.items()):
            image = picture(10 * c + i, [(300, 40), (1, 1), (64, 64), (17, 230)][(c + i) % 4])
            if mode == "I;16":
                image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
            image.convert(mode if mode != "I;16" else None).save(root / name / f"{i}.{suffix}")
    dataset = load_dataset("imagefolder", root)
    cache = FeatureCache(tmp_path / "cache")
    for augment in (AugmentConfig(), VIEWS):
        for labels in (range(2), range(2, 4)):
            samples = in_scope([*dataset.train, *dataset.test], labels)
            encoded = encode_samples(clip, samples, augment=augment, cache=cache)
            assert encoded.image_features.shape == (16, max(augment.views, 1), clip.embed_dim)
            assert encoded.skipped == ()
            norms = encoded.image_features.norm(dim=-1)
            torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-5)
            assert sorted(encoded.labels.tolist()) == [0] * 8 + [1] * 8
