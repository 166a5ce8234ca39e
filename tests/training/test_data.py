"""Few-shot draws and the base/new split follow CoOp's protocol."""

from __future__ import annotations

from collections import Counter

import pytest
from PIL import Image

from candor.errors import InvalidInput
from training.data import ImageDataset, Sample, classnames_of, few_shot, in_scope, scope_labels
from training.datasets import load_dataset


def dataset(classes: int, per_class: int = 5) -> ImageDataset:
    samples = tuple(Sample(label, lambda: Image.new("RGB", (1, 1))) for label in range(classes) for _ in range(per_class))
    return ImageDataset("made-up", tuple(f"class {i}" for i in range(classes)), "a {}.", samples, samples)


def test_base_is_the_first_half_rounded_up() -> None:
    seven = dataset(7)
    assert scope_labels(seven) == {"base": range(4), "new": range(4, 7)}
    assert classnames_of(seven, "new") == ("class 4", "class 5", "class 6")
    assert Counter(s.label for s in in_scope(seven.test, range(4, 7))) == {0: 5, 1: 5, 2: 5}
    with pytest.raises(InvalidInput, match="3 classes"):
        scope_labels(dataset(3))


def test_draws_repeat_by_seed_and_keep_what_a_small_class_has() -> None:
    samples = dataset(4).train
    assert few_shot(samples, 3, seed=1) == few_shot(samples, 3, seed=1)
    assert few_shot(samples, 3, seed=1) != few_shot(samples, 3, seed=2)
    assert Counter(s.label for s in few_shot(samples, 3, seed=1)) == dict.fromkeys(range(4), 3)
    assert len(few_shot(samples, 99, seed=1)) == 20
    with pytest.raises(InvalidInput, match="got 0"):
        few_shot(samples, 0, seed=1)


def test_the_draw_of_a_class_is_made_over_all_classes() -> None:
    """The base shots of a seed are those of the whole draw (methods.md 0.3)."""
    samples = dataset(6).train
    whole = few_shot(samples, 2, seed=3)
    assert whole[:6] == [s for s in whole if s.label < 3]


def test_data_sets_by_name() -> None:
    emblems = load_dataset("glyphs/emblems-and-notes")
    assert emblems.train[0].open().size == (64, 64)
    with pytest.raises(InvalidInput, match=r"unknown data set 'imagenet'; valid: glyphs/\.\.\."):
        load_dataset("imagenet")
    with pytest.raises(InvalidInput, match="unknown glyph task 'nope'; valid: cats-and-cows"):
        load_dataset("glyphs/nope")
