"""ImageNet and its four shifted test sets, on small folders in the real layout."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from candor.errors import InvalidInput
from training.data import classnames_of, few_shot, held_out
from training.datasets import load_dataset

WNIDS = ["n01440764", "n01443537", "n01484850", "n02123045", "n03773504", "n04008634"]
# two classes of the real list share a name, and names have spaces
NAMES = ("tench", "goldfish", "great white shark", "tabby cat", "missile", "missile")


@pytest.fixture
def home(tmp_path: Path, plant) -> Path:
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet/classnames.txt").write_text("".join(f"{w} {n}\n" for w, n in zip(WNIDS, NAMES, strict=True)))
    plant(*(f"imagenet/images/train/{w}/{w}_{i}.JPEG" for w in WNIDS for i in (10026, 9, 27)))
    plant(*(f"imagenet/images/val/{w}/ILSVRC2012_val_0000{i}{j}.JPEG" for i, w in enumerate(WNIDS) for j in range(2)))
    return tmp_path


def test_imagenet(home: Path) -> None:
    dataset = load_dataset("imagenet", home)
    assert (dataset.name, dataset.template, dataset.classnames) == ("imagenet", "a photo of a {}.", NAMES)
    assert classnames_of(dataset, "base") == ("tench", "goldfish", "great white shark")
    assert {s.label: s.path.parent for s in dataset.train} == {
        label: home / "imagenet/images/train" / wnid for label, wnid in enumerate(WNIDS)
    }
    assert [s.label for s in dataset.test] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert {s.path.parts[-3] for s in dataset.test} == {"val"}
    assert dataset.test[0].open().size == (8, 8)


def test_nothing_is_held_out_from_the_validation_images(home: Path) -> None:
    """They are the test set: a temperature fitted on them would be fitted on what is reported (pitfall 18)."""
    dataset = load_dataset("imagenet", home)
    assert dataset.val == ()
    kept = {s.path for s in held_out(dataset, 2, 1)}
    assert len(kept) == 6
    assert {path.parts[-3] for path in kept} == {"train"}
    assert not kept & {s.path for s in few_shot(dataset.train, 2, 1)}


def test_imagenet_without_the_images_folder(home: Path) -> None:
    """The layout of torchvision's ImageNet: train and val side by side."""
    for part in ("train", "val"):
        (home / "imagenet/images" / part).rename(home / "imagenet" / part)
    (home / "imagenet/images").rmdir()
    assert load_dataset("imagenet", home).classnames == NAMES


@pytest.mark.parametrize(
    ("name", "images", "folders", "labels", "names"),
    [
        (
            "imagenet_v2",
            "imagenetv2/imagenetv2-matched-frequency-format-val",
            ["0", "1", "2", "3", "4", "5"],
            range(6),
            NAMES,
        ),
        ("imagenet_sketch", "imagenet-sketch/images", WNIDS, range(6), NAMES),
        # a subset: its classes only, in ImageNet's order, numbered anew (pitfall 19)
        ("imagenet_a", "imagenet-adversarial/imagenet-a", [WNIDS[4], WNIDS[1]], (1, 0), ("goldfish", "missile")),
        ("imagenet_r", "imagenet-rendition/imagenet-r", [WNIDS[3], WNIDS[0]], (1, 0), ("tench", "tabby cat")),
    ],
)
def test_shifted_test_sets(home: Path, plant, name, images, folders, labels, names) -> None:
    plant(*(f"{images}/{folder}/{i}.jpeg" for folder in folders for i in range(2)))
    (home / images / "README.txt").write_text("class ids")
    dataset = load_dataset(name, home)
    assert (dataset.name, dataset.template, dataset.classnames) == (name, "a photo of a {}.", names)
    assert (dataset.train, dataset.val) == ((), ())
    assert few_shot(dataset.train, 16, 1) == held_out(dataset, 16, 1) == []
    assert {s.path.parent.name: s.label for s in dataset.test} == dict(zip(folders, labels, strict=True))
    assert dataset.test[-1].open().mode == "RGB"
    # CoOp keeps a copy of classnames.txt beside each of them; it is used where it is
    own = home / Path(images).parts[0] / "classnames.txt"
    own.write_text(
        (home / "imagenet/classnames.txt").read_text().replace("goldfish", "gold fish").replace("tench", "TENCH")
    )
    assert load_dataset(name, home).classnames != names


def test_numbered_folders_are_ordered_as_numbers(home: Path, plant) -> None:
    """With 12 classes, "10" and "11" sort before "2" as texts; label 2 is still the third class."""
    wnids = [f"n{i:08}" for i in range(12)]
    (home / "imagenet/classnames.txt").write_text("".join(f"{w} name {i}\n" for i, w in enumerate(wnids)))
    plant(*(f"imagenetv2/imagenetv2-matched-frequency-format-val/{i}/a.jpeg" for i in range(12)))
    dataset = load_dataset("imagenet_v2", home)
    assert {s.path.parent.name: dataset.classnames[s.label] for s in dataset.test} == {
        str(i): f"name {i}" for i in range(12)
    }


def test_what_is_missing_or_strange_is_named(home: Path, plant) -> None:
    listing = home / "imagenet/classnames.txt"
    good = listing.read_text()
    (home / "imagenet/images/train" / WNIDS[2]).rename(home / "moved")
    with pytest.raises(InvalidInput, match=f"imagenet: .*train lacks 1 class folders, such as {WNIDS[2]}"):
        load_dataset("imagenet", home)
    (home / "imagenet/images/train" / WNIDS[2]).mkdir()
    with pytest.raises(InvalidInput, match=f"train/{WNIDS[2]} has no images"):
        load_dataset("imagenet", home)
    plant("imagenet-rendition/imagenet-r/n99999999/1.jpg")
    with pytest.raises(InvalidInput, match=r"imagenet-r/n99999999 is none of the classes in classnames\.txt"):
        load_dataset("imagenet_r", home)
    plant("imagenetv2/imagenetv2-matched-frequency-format-val/7/1.jpg")
    with pytest.raises(InvalidInput, match=r"format-val/7 is none of the classes"):
        load_dataset("imagenet_v2", home)
    for text, message in [
        ("n01440764\n", "line 1: expected `n01440764 tench`, got 'n01440764'"),
        (good + "\ntench\n", "line 8: expected"),
        (good + WNIDS[0] + " tench\n", f"line 7: ids must ascend, as ImageNet numbers its classes; got {WNIDS[0]}"),
    ]:
        listing.write_text(text)
        with pytest.raises(InvalidInput, match=re.escape(f"classnames.txt: {message}")):
            load_dataset("imagenet", home)
    listing.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="no UTF-8 text"):
        load_dataset("imagenet", home)
    listing.unlink()
    with pytest.raises(InvalidInput, match=r"imagenet: .*classnames\.txt is needed"):
        load_dataset("imagenet", home)
    with pytest.raises(InvalidInput, match=r"imagenet_a: no folder of images .* imagenet-adversarial/imagenet-a"):
        load_dataset("imagenet_a", home)
