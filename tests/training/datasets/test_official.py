"""The data sets' own splits, in their real layouts; torchvision is the reference where it reads the same files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets as tv
from scipy.io import savemat

from candor.errors import InvalidInput
from training.data import ImageDataset
from training.datasets import load_dataset
from training.datasets.official import camel_words, scene_name, year_first


def pairs(dataset: ImageDataset, part: str) -> list[tuple[str, int]]:
    return [(s.path.name, s.label) for s in getattr(dataset, part) if s.path]


def test_names() -> None:
    assert camel_words("ApplyEyeMakeup") == "Apply_Eye_Makeup"
    assert camel_words("YoYo") == "Yo_Yo"
    assert year_first("AM General Hummer SUV 2000") == "2000 AM General Hummer SUV"
    assert scene_name("/a/abbey") == "abbey"
    assert scene_name("/a/apartment_building/outdoor") == "outdoor apartment_building"


def test_dtd(tmp_path: Path, plant) -> None:
    names = ("banded", "blotchy", "braided", "bubbly")
    (tmp_path / "dtd/dtd/labels").mkdir(parents=True)
    for i, part in enumerate(("train", "val", "test")):
        files = [f"{name}/{name}_{i}.jpg" for name in names]
        plant(*(f"dtd/dtd/images/{file}" for file in files))
        (tmp_path / f"dtd/dtd/labels/{part}1.txt").write_text("\n".join(files) + "\n")
    dataset = load_dataset("dtd/official", tmp_path)
    assert (dataset.name, dataset.classnames) == ("dtd/official", names)
    for i, part in enumerate(("train", "val", "test")):
        assert pairs(dataset, part) == [(f"{name}_{i}.jpg", label) for label, name in enumerate(names)]
    assert dataset.test[0].open().size == (8, 8)


def test_food101(tmp_path: Path, plant) -> None:
    names = ("apple_pie", "baklava", "sushi", "waffles")
    (tmp_path / "food-101/meta").mkdir(parents=True)
    for i, part in enumerate(("train", "test")):
        plant(*(f"food-101/images/{name}/{i}.jpg" for name in names))
        (tmp_path / f"food-101/meta/{part}.json").write_text(json.dumps({name: [f"{name}/{i}"] for name in names}))
    dataset = load_dataset("food101/official", tmp_path)
    assert dataset.classnames == names
    assert pairs(dataset, "train") == [("0.jpg", label) for label in range(4)]
    assert pairs(dataset, "test") == [("1.jpg", label) for label in range(4)]
    assert dataset.val == ()


def test_flowers(tmp_path: Path, plant) -> None:
    """102 labels from 1 in a .mat file, and the numbers of the images of each part in another."""
    labels = np.arange(306) % 102 + 1
    plant(*(f"flowers-102/jpg/image_{i:05}.jpg" for i in range(1, 307)))
    savemat(tmp_path / "flowers-102/imagelabels.mat", {"labels": labels[None]})
    ids = {"trnid": np.arange(1, 103), "valid": np.arange(103, 205), "tstid": np.arange(205, 307)}
    savemat(tmp_path / "flowers-102/setid.mat", {key: value[None] for key, value in ids.items()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tv.Flowers102, "_check_integrity", lambda self: True)  # its digests are those of the real files
        dataset = load_dataset("oxford_flowers/official", tmp_path)
    assert dataset.classnames[0] == "pink primrose"
    assert dataset.classnames[59] == "pink-yellow dahlia"
    assert pairs(dataset, "train") == [(f"image_{i:05}.jpg", i - 1) for i in range(1, 103)]
    assert pairs(dataset, "test")[0] == ("image_00205.jpg", 0)
    with pytest.raises(InvalidInput, match=r"oxford_flowers/official: .*flowers-102 is incomplete or damaged"):
        load_dataset("oxford_flowers/official", tmp_path)


def test_cars(tmp_path: Path, plant) -> None:
    names = ["Acura RL Sedan 2012", "Audi TTS Coupe 2012", "BMW X5 SUV 2007", "Volvo C30 Hatchback 2012"]
    kind = [("fname", object), ("class", np.uint8)]
    (tmp_path / "stanford_cars/devkit").mkdir(parents=True)
    savemat(tmp_path / "stanford_cars/devkit/cars_meta.mat", {"class_names": np.array(names, object)[None]})
    for part, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        plant(*(f"stanford_cars/cars_{part}/0000{i}.jpg" for i in range(4)))
        rows = np.array([(f"0000{i}.jpg", 4 - i) for i in range(4)], kind)
        savemat(tmp_path / "stanford_cars" / file, {"annotations": rows[None]})
    dataset = load_dataset("stanford_cars/official", tmp_path)
    assert dataset.classnames[0] == "2012 Acura RL Sedan"
    assert dataset.classnames[2] == "2007 BMW X5 SUV"
    assert pairs(dataset, "train") == [("00000.jpg", 3), ("00001.jpg", 2), ("00002.jpg", 1), ("00003.jpg", 0)]
    assert {s.path.parent.name for s in dataset.test if s.path} == {"cars_test"}
    (tmp_path / "stanford_cars/devkit/cars_meta.mat").write_bytes(b"not a mat file")
    with pytest.raises(InvalidInput, match="stanford_cars is incomplete or damaged"):
        load_dataset("stanford_cars/official", tmp_path)


def test_pets(tmp_path: Path, plant) -> None:
    home = tmp_path / "oxford-iiit-pet"
    (home / "annotations/trimaps").mkdir(parents=True)
    breeds = ["Abyssinian", "american_bulldog", "american_pit_bull_terrier", "yorkshire_terrier"]
    for number, part in ((1, "trainval"), (2, "test")):
        lines = [f"{breed}_{number} {label} 1 1" for label, breed in enumerate(breeds, 1)]
        (home / f"annotations/{part}.txt").write_text("\n".join(reversed(lines)) + "\n")
        plant(*(f"oxford-iiit-pet/images/{breed}_{number}.jpg" for breed in breeds))
    dataset = load_dataset("oxford_pets/official", tmp_path)
    assert dataset.classnames == ("abyssinian", "american_bulldog", "american_pit_bull_terrier", "yorkshire_terrier")
    for ours, theirs in (("train", "trainval"), ("test", "test")):
        reference = tv.OxfordIIITPet(tmp_path, theirs)
        assert [(s.path, s.label) for s in getattr(dataset, ours)] == list(
            zip(reference._images, reference._labels, strict=True)
        )
    (home / "annotations/test.txt").write_text("# a comment\n../../etc/passwd 1 1 1\n")
    with pytest.raises(InvalidInput, match=r"annotations/test\.txt: line 2: expected `<breed>_<number> <label>"):
        load_dataset("oxford_pets/official", tmp_path)
    (home / "annotations/test.txt").write_text("Abyssinian_1 9 1 1\n")
    with pytest.raises(InvalidInput, match=r"labels must be 1 to 5, got 9"):
        load_dataset("oxford_pets/official", tmp_path)


def test_aircraft_equals_torchvision(tmp_path: Path) -> None:
    home = tmp_path / "fgvc-aircraft-2013b/data"
    (home / "images").mkdir(parents=True)
    variants = ["707-320", "A300B4", "F/A-18", "Cessna 172"]
    (home / "variants.txt").write_text("\n".join(variants) + "\n")
    for digit, part in enumerate(("train", "val", "test"), 1):
        (home / f"images_variant_{part}.txt").write_text("".join(f"{digit}{i:06} {variants[i % 4]}\n" for i in range(8)))
    dataset = load_dataset("fgvc_aircraft/official", tmp_path)
    for part in ("train", "val", "test"):
        reference = tv.FGVCAircraft(tmp_path, part, loader=Path)
        assert [(s.path, s.label) for s in getattr(dataset, part)] == list(reference)
        assert dataset.classnames == tuple(reference.classes)


@pytest.mark.parametrize("home", ["sun397", "."])
def test_sun397(tmp_path: Path, plant, home: str) -> None:
    categories = ["/a/abbey", "/a/apartment_building/outdoor", "/y/yard", "/y/youth_hostel"]
    meta = tmp_path / home if home != "." else tmp_path / "SUN397"
    meta.mkdir(exist_ok=True)
    (meta / "ClassName.txt").write_text("\n".join(categories) + "\n")
    for part in ("Training", "Testing"):
        files = [f"{category}/sun_{part}{i}.jpg" for i, category in enumerate(categories)]
        plant(*(f"{home}/SUN397{file}" for file in files))
        (meta / f"{part}_01.txt").write_text("\n".join(files) + "\n")
    dataset = load_dataset("sun397/official", tmp_path)
    assert dataset.classnames == ("abbey", "outdoor apartment_building", "yard", "youth_hostel")
    assert pairs(dataset, "test") == [(f"sun_Testing{i}.jpg", i) for i in range(4)]
    assert dataset.train[1].open().size == (8, 8)
    if home == ".":
        reference = dict(iter(tv.SUN397(tmp_path, loader=Path)))
        assert {s.path: s.label for s in (*dataset.train, *dataset.test)} == reference


def test_ucf101(tmp_path: Path, plant) -> None:
    actions = ["ApplyEyeMakeup", "Archery", "HandstandPushups", "YoYo"]
    lists = tmp_path / "ucf101/ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("".join(f"{i} {action}\r\n" for i, action in enumerate(actions, 1)))
    (lists / "trainlist01.txt").write_text("".join(f"{a}/v_{a}_g08_c01.avi {i}\n" for i, a in enumerate(actions, 1)))
    (lists / "testlist01.txt").write_text("".join(f"{a}/v_{a}_g01_c01.avi\n" for a in actions))
    plant(*(f"ucf101/UCF-101-midframes/{camel_words(a)}/v_{a}_g0{g}_c01.jpg" for a in actions for g in (1, 8)))
    dataset = load_dataset("ucf101/official", tmp_path)
    assert dataset.classnames == ("Apply_Eye_Makeup", "Archery", "Handstand_Pushups", "Yo_Yo")
    assert pairs(dataset, "test") == [(f"v_{a}_g01_c01.jpg", i) for i, a in enumerate(actions)]
    assert {s.open().size for s in (*dataset.train, *dataset.test)} == {(8, 8)}
    (lists / "testlist01.txt").write_text("Juggling/v_Juggling_g01_c01.avi\n")
    with pytest.raises(InvalidInput, match=r"testlist01\.txt: line 1: 'Juggling' is not in the list of classes"):
        load_dataset("ucf101/official", tmp_path)


@pytest.mark.parametrize(
    ("name", "folder", "classes"),
    [
        (
            "caltech101",
            "caltech-101/101_ObjectCategories",
            {
                "BACKGROUND_Google": None,
                "Faces": "face",
                "Faces_easy": None,
                "Leopards": "leopard",
                "Motorbikes": "motorbike",
                "airplanes": "airplane",
                "yin_yang": "yin_yang",
            },
        ),
        (
            "eurosat",
            "eurosat/2750",
            {
                "AnnualCrop": "Annual Crop Land",
                "Forest": "Forest",
                "Highway": "Highway or Road",
                "Industrial": "Industrial Buildings",
                "River": "River",
            },
        ),
    ],
)
def test_drawn_splits(tmp_path: Path, plant, name: str, folder: str, classes: dict[str, str | None]) -> None:
    plant(*(f"{folder}/{c}/{i}.jpg" for c in classes for i in range(10)))
    dataset = load_dataset(f"{name}/official", tmp_path)
    names = tuple(text for text in classes.values() if text)
    assert dataset.classnames == names
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        assert Counter(s.label for s in getattr(dataset, part)) == dict.fromkeys(range(len(names)), count)
    assert len({s.path for part in (dataset.train, dataset.val, dataset.test) for s in part}) == 10 * len(names)
    assert [s.path for s in load_dataset(f"{name}/official", tmp_path).test] == [s.path for s in dataset.test]
    if name == "eurosat":
        reference = {Path(path): label for path, label in tv.EuroSAT(tmp_path).samples}
        assert {s.path: s.label for part in (dataset.train, dataset.val, dataset.test) for s in part} == reference


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"dtd/official is read from torchvision's folder .*/dtd/dtd, which is missing"):
        load_dataset("dtd/official", tmp_path)
    (tmp_path / "ucf101/UCF-101-midframes").mkdir(parents=True)
    with pytest.raises(InvalidInput, match=r"ucf101: .*ucfTrainTestlist/classInd\.txt is needed"):
        load_dataset("ucf101/official", tmp_path)
    (tmp_path / "eurosat/2750/Forest").mkdir(parents=True)
    with pytest.raises(InvalidInput, match="eurosat: no training image for 'Forest'"):
        load_dataset("eurosat/official", tmp_path)
