"""Photographs in folders, as people have them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from candor.clip.templates import fill
from candor.errors import InvalidInput
from candor.images import UnreadableImage
from training.data import ImageDataset, few_shot, held_out
from training.datasets import load_dataset


def files(dataset: ImageDataset, part: str, label: int) -> list[str]:
    return [s.path.name for s in getattr(dataset, part) if s.label == label and s.path]


def test_train_and_test_folders(tmp_path: Path, plant) -> None:
    plant(*(f"train/{c}/{i}.jpg" for c in ("red_fox", "bear", "owl", "Cat") for i in range(3)))
    plant(*(f"test/{c}/t{i}.jpg" for c in ("red_fox", "bear", "owl") for i in range(2)))
    plant("val/owl/v.jpg")
    dataset = load_dataset("imagefolder", tmp_path)
    assert dataset.classnames == ("Cat", "bear", "owl", "red_fox")
    assert fill(dataset.template, dataset.classnames)[3] == "a photo of a red fox."
    assert files(dataset, "train", 3) == ["0.jpg", "1.jpg", "2.jpg"]
    assert files(dataset, "test", 2) == ["t0.jpg", "t1.jpg"]
    assert files(dataset, "test", 0) == []
    assert [(s.label, s.path) for s in dataset.val] == [(2, tmp_path / "val/owl/v.jpg")]
    assert dataset.train[0].open().getpixel((0, 0)) == pytest.approx((200, 100, 50), abs=4)


def test_val_is_the_test_set_where_there_is_no_other(tmp_path: Path, plant) -> None:
    plant(*(f"{part}/{c}/{i}.jpg" for part in ("train", "val") for c in "abcd" for i in range(3)))
    dataset = load_dataset("imagefolder", tmp_path)
    assert dataset.val == ()
    assert {s.path.parts[-3] for s in dataset.test if s.path} == {"val"}


def test_a_plain_tree_is_split_in_halves_that_stay(tmp_path: Path, plant) -> None:
    plant(*(f"{c}/{i}.jpg" for c in "abcd" for i in range(7)), "e/only.jpg")
    dataset = load_dataset("imagefolder", tmp_path)
    assert Counter(s.label for s in dataset.train) == {0: 4, 1: 4, 2: 4, 3: 4, 4: 1}
    assert Counter(s.label for s in dataset.test) == {0: 3, 1: 3, 2: 3, 3: 3}
    assert sorted(files(dataset, "train", 0) + files(dataset, "test", 0)) == [f"{i}.jpg" for i in range(7)]
    # the very draw is part of the contract: a published figure depends on it
    assert files(dataset, "test", 0) == ["0.jpg", "2.jpg", "4.jpg"]
    plant("0/x.jpg", "0/y.jpg")
    assert files(load_dataset("imagefolder", tmp_path), "test", 1) == files(dataset, "test", 0)


def test_a_class_may_be_called_train(tmp_path: Path, plant) -> None:
    plant(*(f"{c}/{i}.jpg" for c in ("bus", "car", "plane", "train") for i in range(2)))
    assert load_dataset("imagefolder", tmp_path).classnames == ("bus", "car", "plane", "train")


def test_sub_folders_strange_files_and_the_count_of_what_is_ignored(tmp_path: Path, plant) -> None:
    plant(*(f"{c}/{i}.jpg" for c in "abcd" for i in range(2)))
    plant("a/deep/deeper/7.JPEG", "a/.hidden.jpg", "b/.thumbnails/1.jpg", ".cache/e/1.jpg")
    for path in ("README.md", "a/notes.txt", "c/Thumbs.db", "d/.DS_Store"):
        (tmp_path / path).write_text("x")
    os.mkfifo(tmp_path / "d/pipe.jpg")
    dataset = load_dataset("imagefolder", tmp_path)
    assert dataset.classnames == ("a", "b", "c", "d")
    assert sorted(files(dataset, "train", 0) + files(dataset, "test", 0)) == ["0.jpg", "1.jpg", "7.JPEG"]
    assert len(dataset.train) + len(dataset.test) == 9
    # .hidden.jpg, .thumbnails, README.md, notes.txt, Thumbs.db, .DS_Store, pipe.jpg
    assert dataset.ignored == 7


def test_links(tmp_path: Path, plant) -> None:
    """A linked class is read, a circle ends, and a broken link is an image that cannot be opened."""
    plant(*(f"root/{c}/{i}.jpg" for c in "abc" for i in range(2)), "elsewhere/0.jpg", "elsewhere/1.jpg")
    root = tmp_path / "root"
    (root / "d").symlink_to(tmp_path / "elsewhere")
    (root / "a/up").symlink_to(root)
    (root / "b/self").symlink_to("self")
    (root / "c/again").symlink_to(root / "c")
    (root / "d/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    dataset = load_dataset("imagefolder", root)
    found = [s for s in (*dataset.train, *dataset.test) if s.label == 3]
    assert sorted(s.path.name for s in found if s.path) == ["0.jpg", "1.jpg", "gone.jpg"]
    assert Counter(s.label for s in (*dataset.train, *dataset.test))[2] == 2
    broken = next(s for s in found if s.path and s.path.name == "gone.jpg")
    with pytest.raises(UnreadableImage, match=r"root/d/gone\.jpg: cannot be read \(No such file"):
        broken.open()


def test_photographs_of_all_kinds(tmp_path: Path) -> None:
    """Mixed sizes, modes and formats: every one opens as RGB and shows the grey it was made of."""
    deep = Image.fromarray(np.full((20, 9), 128 * 256, np.uint16))
    grey = Image.new("RGB", (31, 17), (128, 128, 128))
    kinds = {
        "grey.jpg": grey.convert("L").resize((5, 40)),
        "cmyk.jpg": grey.convert("CMYK").resize((64, 3)),
        "palette.png": grey.quantize(4),
        "palette.gif": grey.quantize(4).resize((1, 1)),
        "deep.png": deep,
        "deep.tiff": deep,
        "alpha.png": grey.convert("RGBA"),
        "alpha.WEBP": grey.convert("RGBA").resize((300, 200)),
        "plain_old.bmp": grey,
        "wrong_name.png": grey,
    }
    for name in ("barn_owl", "red_fox", "grizzly_bear", "white-tailed_deer"):
        (tmp_path / name).mkdir()
        for file, image in kinds.items():
            image.save(tmp_path / name / file, "JPEG" if file == "wrong_name.png" else None)
    dataset = load_dataset("imagefolder", tmp_path)
    assert len(dataset.train) == len(dataset.test) == 20
    for sample in (*dataset.train, *dataset.test):
        image = sample.open()
        assert image.mode == "RGB", sample.path
        assert image.getpixel((0, 0)) == pytest.approx((128, 128, 128), abs=3), sample.path
    assert fill("{}", dataset.classnames) == ["barn owl", "grizzly bear", "red fox", "white-tailed deer"]
    assert len(few_shot(dataset.train, 4, 1)) == 16
    assert len(held_out(dataset, 4, 1)) == 4


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff\xe0 half a jpeg"])
def test_a_broken_file_is_found_when_it_is_opened(tmp_path: Path, plant, data: bytes) -> None:
    plant(*(f"{c}/{i}.jpg" for c in "abcd" for i in range(2)))
    (tmp_path / "b/0.jpg").write_bytes(data)
    (tmp_path / "b/1.jpg").write_bytes(data)
    dataset = load_dataset("imagefolder", tmp_path)
    with pytest.raises(UnreadableImage, match=r"b/[01]\.jpg: not an image that can be read as JPEG"):
        next(s for s in dataset.train if s.label == 1).open()


@pytest.mark.parametrize(
    ("planted", "message"),
    [
        ([], "must hold at least 4 class folders .*; found none"),
        (["0.jpg"], "must hold at least 4 class folders .*; found none"),
        (["a/0.jpg", "b/0.jpg", "c/0.jpg"], "found only 'a', 'b', 'c'"),
        (["train/a/0.jpg"], "has train/, but neither test/ nor val/"),
        (["train/a/0.jpg", "train/b/0.jpg", "test/a/0.jpg"], "train must hold at least 4 .* found only 'a', 'b'"),
        ([*(f"train/{c}/0.jpg" for c in "abcd"), "test/a/0.jpg", "test/e/0.jpg"], "classes without training images: e"),
        ([*(f"train/{c}/0.jpg" for c in "abc"), "train/d/x.txt", "test/a/0.jpg"], "no training image for 'd'"),
        (["a/0.jpg", "b/0.jpg", "c/0.jpg", "d/x.txt"], "no training image for 'd'"),
        ([f"{c}/0.jpg" for c in "abcd"], "has no test images"),
        ([f"{c}/0.jpg" for c in ("red_fox", "red fox", "owl", "bear")], "duplicate labels: 'red fox'"),
        ([f"{c}/0.jpg" for c in ("a", "b", "c", "___")], "label number 1 is empty"),
        ([f"{c}/0.jpg" for c in ("a", "b", "c", "d\n")], "characters that cannot be printed"),
    ],
)
def test_trees_that_cannot_be_used(tmp_path: Path, plant, planted: list[str], message: str) -> None:
    plant(*planted)
    with pytest.raises(InvalidInput, match=message):
        load_dataset("imagefolder", tmp_path)


def test_no_root_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"imagefolder needs a root \(--root\)"):
        load_dataset("imagefolder")
    with pytest.raises(InvalidInput, match="nowhere is no folder"):
        load_dataset("imagefolder", tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="unknown data set 'imagefolder/x'; valid: imagefolder"):
        load_dataset("imagefolder/x", tmp_path)
