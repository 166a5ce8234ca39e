"""CoOp's ten small data sets, each in its real layout on made-up folders, and the real split files where they are."""

from __future__ import annotations

import json
import os
import random
import re
from functools import cache
from pathlib import Path

import pytest

from candor.errors import InvalidInput
from candor.images import UnreadableImage
from training.data import ImageDataset, few_shot, held_out, scope_labels
from training.datasets import load_dataset
from training.datasets.coop import COOP
from training.datasets.official import CALTECH_NAMES, camel_words

# name: split file, its folder, image folder, and per class: a path with {} for the number, and the class name
LAYOUTS: dict[str, tuple[str, str, str, list[tuple[str, str]]]] = {
    "caltech101": (
        "split_zhou_Caltech101.json",
        "caltech-101",
        "caltech-101/101_ObjectCategories",
        [
            ("Faces/image_000{}.jpg", "face"),
            ("Leopards/image_000{}.jpg", "leopard"),
            ("Motorbikes/image_000{}.jpg", "motorbike"),
            ("yin_yang/image_000{}.jpg", "yin_yang"),
        ],
    ),
    "dtd": (
        "split_zhou_DescribableTextures.json",
        "dtd",
        "dtd/images",
        [(f"{name}/{name}_000{{}}.jpg", name) for name in ("banded", "blotchy", "braided", "bubbly")],
    ),
    "eurosat": (
        "split_zhou_EuroSAT.json",
        "eurosat",
        "eurosat/2750",
        [
            ("AnnualCrop/AnnualCrop_{}.jpg", "Annual Crop Land"),
            ("Forest/Forest_{}.jpg", "Forest"),
            ("Highway/Highway_{}.jpg", "Highway or Road"),
            ("SeaLake/SeaLake_{}.jpg", "Sea or Lake"),
        ],
    ),
    "food101": (
        "split_zhou_Food101.json",
        "food-101",
        "food-101/images",
        [(f"{name}/10{{}}.jpg", name) for name in ("apple_pie", "baby_back_ribs", "baklava", "waffles")],
    ),
    "oxford_flowers": (
        "split_zhou_OxfordFlowers.json",
        "oxford_flowers",
        "oxford_flowers/jpg",
        [
            (f"image_0{label}{{}}.jpg", name)
            for label, name in enumerate(("pink primrose", "sweet pea", "colt's foot", "rose"))
        ],
    ),
    "oxford_pets": (
        "split_zhou_OxfordPets.json",
        "oxford_pets",
        "oxford_pets/images",
        [(f"{name}_{{}}.jpg", name.lower()) for name in ("Abyssinian", "american_bulldog", "Bengal", "yorkshire_terrier")],
    ),
    "stanford_cars": (
        "split_zhou_StanfordCars.json",
        "stanford_cars",
        "stanford_cars",
        [
            (f"cars_train/0{label}{{}}.jpg", name)
            for label, name in enumerate(
                ("2012 Acura RL Sedan", "2012 Audi TTS Coupe", "2007 BMW X5 SUV", "2012 Volvo C30")
            )
        ],
    ),
    "sun397": (
        "split_zhou_SUN397.json",
        "sun397",
        "sun397/SUN397",
        [
            ("a/abbey/sun_a{}.jpg", "abbey"),
            ("a/airplane_cabin/sun_b{}.jpg", "airplane_cabin"),
            ("a/apartment_building/outdoor/sun_c{}.jpg", "outdoor apartment_building"),
            ("y/yard/sun_d{}.jpg", "yard"),
        ],
    ),
    "ucf101": (
        "split_zhou_UCF101.json",
        "ucf101",
        "ucf101/UCF-101-midframes",
        [
            (f"{camel_words(name)}/v_{name}_g0{{}}_c01.jpg", camel_words(name))
            for name in ("ApplyEyeMakeup", "Archery", "BaseballPitch", "YoYo")
        ],
    ),
}
TEMPLATES = {
    "caltech101": "a photo of a {}.",
    "dtd": "a photo of a {}, a type of texture.",
    "eurosat": "a centered satellite photo of {}.",
    "fgvc_aircraft": "a photo of a {}, a type of aircraft.",
    "food101": "a photo of {}, a type of food.",
    "oxford_flowers": "a photo of a {}, a type of flower.",
    "oxford_pets": "a photo of a {}, a type of pet.",
    "stanford_cars": "a photo of a {}.",
    "sun397": "a photo of a {}.",
    "ucf101": "a photo of a person doing {}.",
}


def entries(name: str, numbers: range) -> list[list[object]]:
    return [[path.format(i), label, text] for label, (path, text) in enumerate(LAYOUTS[name][3]) for i in numbers]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_real_layout(tmp_path: Path, plant, name: str) -> None:
    file, home, images, classes = LAYOUTS[name]
    split = {"train": entries(name, range(3)), "val": entries(name, range(3, 5)), "test": entries(name, range(5, 7))}
    plant(*(f"{images}/{path}" for part in split.values() for path, _, _ in part))
    (tmp_path / home / file).write_text(json.dumps(split))
    dataset = load_dataset(name, tmp_path)
    assert (dataset.name, dataset.template) == (name, TEMPLATES[name])
    assert dataset.classnames == tuple(text for _, text in classes)
    for part, listed in split.items():
        samples = getattr(dataset, part)
        assert [(s.path, s.label) for s in samples] == [(tmp_path / images / str(p), label) for p, label, _ in listed]
        assert {s.open().size for s in samples} == {(8, 8)}
    assert {s.path for s in held_out(dataset, 2, 1)} == {s.path for s in dataset.val}
    next(iter(dataset.test)).path.unlink()
    with pytest.raises(UnreadableImage, match=re.escape(f"{images}/{classes[0][0].format(5)}: cannot be read")):
        dataset.test[0].open()


@pytest.mark.parametrize("home", ["fgvc_aircraft", "fgvc-aircraft-2013b/data"])
def test_the_aircraft(tmp_path: Path, plant, home: str) -> None:
    variants = ["707-320", "A300B4", "F/A-18", "Cessna 172"]
    (tmp_path / home).mkdir(parents=True)
    (tmp_path / home / "variants.txt").write_text("\n".join(variants) + "\n")
    for digit, part in enumerate(("train", "val", "test"), 1):
        # another order than that of the labels, as in the real lists
        lines = [f"{digit}00{label} {name}" for label, name in reversed(list(enumerate(variants)))]
        (tmp_path / home / f"images_variant_{part}.txt").write_text("\n".join(lines) + "\n")
        plant(*(f"{home}/images/{line.split()[0]}.jpg" for line in lines))
    aircraft = load_dataset("fgvc_aircraft", tmp_path)
    assert aircraft.classnames == tuple(variants)
    assert aircraft.template == TEMPLATES["fgvc_aircraft"]
    assert [(s.label, s.path.stem) for s in aircraft.train] == [(3, "1003"), (2, "1002"), (1, "1001"), (0, "1000")]
    assert [(s.label, s.path.stem) for s in aircraft.val] == [(3, "2003"), (2, "2002"), (1, "2001"), (0, "2000")]
    assert [(s.label, s.path.stem) for s in aircraft.test] == [(3, "3003"), (2, "3002"), (1, "3001"), (0, "3000")]
    assert aircraft.test[0].open().mode == "RGB"

    list_file = tmp_path / home / "images_variant_val.txt"
    list_file.write_text("2000 707-320\n2001 Zeppelin\n")
    with pytest.raises(InvalidInput, match=r"images_variant_val\.txt: line 2: 'Zeppelin' is not in the list of classes"):
        load_dataset("fgvc_aircraft", tmp_path)
    list_file.write_text("../../secret 707-320\n")
    with pytest.raises(InvalidInput, match=r"line 1: path .* must stay inside the image folder"):
        load_dataset("fgvc_aircraft", tmp_path)
    list_file.unlink()
    with pytest.raises(InvalidInput, match=r"fgvc_aircraft: .*images_variant_val\.txt is needed"):
        load_dataset("fgvc_aircraft", tmp_path)


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("dtd", "dtd/dtd/images"),
        ("caltech101", "caltech101/101_ObjectCategories"),
        ("oxford_flowers", "flowers-102/jpg"),
        ("oxford_pets", "oxford-iiit-pet/images"),
        ("sun397", "SUN397"),
    ],
)
def test_torchvisions_layout_with_coops_split_file(tmp_path: Path, plant, name: str, images: str) -> None:
    listed = entries(name, range(1))
    plant(*(f"{images}/{path}" for path, _, _ in listed))
    split = {"train": listed, "val": [], "test": entries(name, range(1, 2))}
    (tmp_path / LAYOUTS[name][0]).write_text(json.dumps(split))
    dataset = load_dataset(name, tmp_path)
    assert [s.path for s in dataset.train] == [tmp_path / images / str(path) for path, _, _ in listed]


def test_what_is_missing_is_named(tmp_path: Path, plant) -> None:
    with pytest.raises(InvalidInput, match=r"dtd needs a root \(--root\)"):
        load_dataset("dtd")
    with pytest.raises(InvalidInput, match=r"dtd: no folder of images under .*; looked for dtd/images, dtd/dtd/images"):
        load_dataset("dtd", tmp_path)
    plant("dtd/images/banded/1.jpg")
    message = r"dtd: split_zhou_DescribableTextures\.json is missing; looked in .*/dtd/images, .*/dtd, .*dtd/official"
    with pytest.raises(InvalidInput, match=message):
        load_dataset("dtd", tmp_path)
    with pytest.raises(InvalidInput, match="unknown data set 'dtd/2'; valid: dtd, dtd/official"):
        load_dataset("dtd/2", tmp_path)


# ---- the real split files

REAL = Path(os.environ.get("CANDOR_COOP_SPLITS", Path(__file__).parents[4] / "shared/data/coop_splits"))
# base, new (methods.md 0.3); images for training, validation and testing (CoOp paper, appendix)
COUNTS = {
    "caltech101": (50, 50, 4128, 1649, 2465),
    "dtd": (24, 23, 2820, 1128, 1692),
    "eurosat": (5, 5, 13500, 5400, 8100),
    "oxford_flowers": (51, 51, 4093, 1633, 2463),
    "oxford_pets": (19, 18, 2944, 736, 3669),
    "stanford_cars": (98, 98, 6509, 1635, 8041),
    "ucf101": (51, 50, 7639, 1898, 3783),
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory):
    if not REAL.is_dir():
        pytest.skip(f"CoOp's split files are not at {REAL}")
    tmp_path = tmp_path_factory.mktemp("real")

    @cache
    def load(name: str) -> ImageDataset:
        file, home, images, _ = LAYOUTS[name]
        (tmp_path / images).mkdir(parents=True, exist_ok=True)
        (tmp_path / home / file).symlink_to(REAL / file)
        return load_dataset(name, tmp_path)

    return load


@pytest.mark.parametrize("name", COUNTS)
def test_real_counts_and_draws(real, name: str) -> None:
    dataset = real(name)
    scopes = scope_labels(dataset)
    sizes = (len(scopes["base"]), len(scopes["new"]), len(dataset.train), len(dataset.val), len(dataset.test))
    assert sizes == COUNTS[name]
    n = len(dataset.classnames)
    assert len(set(dataset.classnames)) == n
    for samples in (dataset.train, dataset.val, dataset.test):
        assert {s.label for s in samples} == set(range(n))
    random.seed(1)
    by_label: dict[int, list] = {}
    for sample in dataset.train:
        by_label.setdefault(sample.label, []).append(sample)
    assert few_shot(dataset.train, 16, 1) == [s for items in by_label.values() for s in random.sample(items, 16)]
    kept = held_out(dataset, 16, 1)
    assert len(kept) == 4 * n
    assert {s.path for s in kept} <= {s.path for s in dataset.val}


def test_real_names_follow_the_folders(real) -> None:
    """The class names in the files are those that CoOp's rules make of folder and file names."""
    caltech, ucf, pets, cars = real("caltech101"), real("ucf101"), real("oxford_pets"), real("stanford_cars")
    for s in caltech.test:
        assert caltech.classnames[s.label] == CALTECH_NAMES.get(s.path.parent.name, s.path.parent.name)
    for s in ucf.test:
        action = s.path.name.split("_")[1].replace("HandStandPushups", "HandstandPushups")
        assert ucf.classnames[s.label] == s.path.parent.name == camel_words(action)
    for s in pets.test:
        assert pets.classnames[s.label] == s.path.name.rpartition("_")[0].lower()
    assert list(pets.classnames) == sorted(pets.classnames)
    assert all(re.match(r"(19|20)\d\d ", name) for name in cars.classnames)
    assert cars.classnames[1] == "2012 Acura RL Sedan"


def test_real_label_order(real) -> None:
    flowers = json.loads((REAL / "cat_to_name.json").read_text())
    assert real("oxford_flowers").classnames == tuple(flowers[str(i)] for i in range(1, 103))
    assert real("eurosat").classnames == (
        "Annual Crop Land",
        "Forest",
        "Herbaceous Vegetation Land",
        "Highway or Road",
        "Industrial Buildings",
        "Pasture Land",
        "Permanent Crop Land",
        "Residential Buildings",
        "River",
        "Sea or Lake",
    )
    assert list(real("dtd").classnames) == sorted(real("dtd").classnames)
    # not alphabetical: the folders "Faces", "Leopards" and "Motorbikes" sort first
    assert real("caltech101").classnames[:6] == ("face", "leopard", "motorbike", "accordion", "airplane", "anchor")


def test_every_layout_is_tested() -> None:
    assert set(LAYOUTS) | {"fgvc_aircraft"} == set(COOP) == set(TEMPLATES)
