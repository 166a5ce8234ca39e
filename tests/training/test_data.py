"""Few-shot draws and the base/new split follow CoOp's protocol."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from candor.errors import InvalidInput
from training.data import ImageDataset, Sample, classnames_of, few_shot, held_out, in_scope, scope_labels
from training.datasets import load_dataset


def blank() -> Image.Image:
    return Image.new("RGB", (1, 1))


def samples_of(labels: list[int], folder: str = "train") -> tuple[Sample, ...]:
    """A sample for each label, with a path of its own."""
    return tuple(Sample(label, blank, Path(folder, f"{i}.jpg")) for i, label in enumerate(labels))


def dataset(classes: int, per_class: int = 5, val: tuple[Sample, ...] = ()) -> ImageDataset:
    labels = [label for label in range(classes) for _ in range(per_class)]
    names = tuple(f"class {i}" for i in range(classes))
    return ImageDataset("made-up", names, "a {}.", samples_of(labels), samples_of(labels, "test"), val)


def paths(samples: list[Sample]) -> list[Path | None]:
    return [s.path for s in samples]


def test_base_is_the_first_half_rounded_up() -> None:
    seven = dataset(7)
    assert scope_labels(seven) == {"base": range(4), "new": range(4, 7)}
    assert classnames_of(seven, "new") == ("class 4", "class 5", "class 6")
    assert Counter(s.label for s in in_scope(seven.test, range(4, 7))) == {0: 5, 1: 5, 2: 5}
    with pytest.raises(InvalidInput, match="3 classes"):
        scope_labels(dataset(3))


def test_a_scope_keeps_the_files() -> None:
    assert paths(in_scope(dataset(4, 1).test, range(2, 4))) == [Path("test/2.jpg"), Path("test/3.jpg")]


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


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_draw_is_plain_random_sample_in_label_order(seed: int) -> None:
    samples = dataset(9, 20).train
    random.seed(seed)
    expected = [s for label in range(9) for s in random.sample([s for s in samples if s.label == label], 16)]
    assert few_shot(samples, 16, seed) == expected


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_draws_of_coops_code(seed: int) -> None:
    """Classes come as they are first listed, a small one draws nothing, and val goes on where train stopped."""
    train = samples_of([2] * 6 + [0] * 3 + [3] * 9 + [1] * 6 + [0] * 4)
    val = samples_of([3] * 7 + [1] * 2 + [2] * 5 + [0] * 6, "val")
    data = ImageDataset("made-up", ("a", "b", "c", "d"), "a {}.", train, (), val)

    random.seed(seed)
    shots = [s for label in (2, 0, 3, 1) for s in coop_draw(train, label, 7)]
    kept = [s for label in (3, 1, 2, 0) for s in coop_draw(val, label, 4)]
    assert few_shot(train, 7, seed) == shots
    assert held_out(data, 7, seed) == kept


def coop_draw(samples: tuple[Sample, ...], label: int, count: int) -> list[Sample]:
    mine = [s for s in samples if s.label == label]
    return random.sample(mine, count) if len(mine) >= count else mine


def test_without_val_training_images_are_held_out_that_are_no_shots() -> None:
    data = dataset(4, 20)
    for seed in range(5):
        shots, kept = few_shot(data.train, 16, seed), held_out(data, 16, seed)
        assert Counter(s.label for s in kept) == dict.fromkeys(range(4), 4)
        assert len({*paths(shots), *paths(kept)}) == 80
        assert {p.parent.name for p in paths(kept) if p} == {"train"}
    assert Counter(s.label for s in held_out(data, 2, 0)) == dict.fromkeys(range(4), 2)
    assert Counter(s.label for s in held_out(data, 18, 0)) == dict.fromkeys(range(4), 2)
    assert held_out(data, 20, 0) == []


def test_val_is_preferred_class_by_class() -> None:
    data = dataset(4, 20, val=samples_of([0] * 9 + [2] * 3, "val"))
    kept = held_out(data, 16, seed=1)
    assert Counter(s.label for s in kept) == {0: 4, 1: 4, 2: 3, 3: 4}
    assert {s.label for s in kept if s.path and s.path.parent.name == "val"} == {0, 2}
    with pytest.raises(InvalidInput, match="got 0"):
        held_out(data, 0, 1)


def test_glyphs_hold_out_pictures_of_their_own() -> None:
    emblems = load_dataset("glyphs/emblems-and-notes")
    assert emblems.train[0].open().size == (64, 64)
    shots, kept = few_shot(emblems.train, 16, 1), held_out(emblems, 16, 1)
    assert len(kept) == 4 * len(emblems.classnames)
    assert not {id(s) for s in shots} & {id(s) for s in kept}
