"""The splits that the data sets themselves come with, for use without CoOp's split files.

Each reader takes the root and gives a `Split`. Labels, class names and their spelling are CoOp's (methods.md 0.3); which
image is for training and which for testing is not, except for the aircraft, where CoOp uses the official lists.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchvision import datasets as tv

from candor.errors import InvalidInput
from training.datasets.files import find_images, first_folder, numbered_lines, subfolders
from training.datasets.split_file import Split, check_training_images

Pairs = list[tuple[Path, int]]

AIRCRAFT = ("fgvc_aircraft/images", "fgvc-aircraft-2013b/data/images")
CALTECH = ("caltech-101/101_ObjectCategories", "caltech101/101_ObjectCategories")
EUROSAT = ("eurosat/2750",)
PETS = ("oxford_pets/images", "oxford-iiit-pet/images")
SUN = ("sun397/SUN397", "SUN397")
UCF = ("ucf101/UCF-101-midframes",)

CALTECH_LEFT_OUT = ("BACKGROUND_Google", "Faces_easy")
CALTECH_NAMES = {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}
EUROSAT_NAMES = {
    "AnnualCrop": "Annual Crop Land",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "SeaLake": "Sea or Lake",
}


def camel_words(name: str) -> str:
    """Words joined by underscores, as the UCF101 mid-frames are named: ApplyEyeMakeup -> Apply_Eye_Makeup."""
    return "_".join(re.findall("[A-Z][^A-Z]*", name))


def year_first(name: str) -> str:
    """A car's name with its year in front: Acura RL Sedan 2012 -> 2012 Acura RL Sedan."""
    model, _, year = name.rpartition(" ")
    return f"{year} {model}"


def scene_name(category: str) -> str:
    """A SUN397 category as CoOp words it: /a/apartment_building/outdoor -> outdoor apartment_building."""
    return " ".join(reversed(category.strip("/").split("/")[1:]))


def caltech101(root: Path) -> Split:
    """Caltech101 has no split of its own; see `drawn`. Two of its folders are left out, four get a singular name."""
    return drawn("caltech101", first_folder(root, CALTECH, "caltech101"), CALTECH_NAMES, CALTECH_LEFT_OUT)


def eurosat(root: Path) -> Split:
    """EuroSAT has no split of its own; see `drawn`."""
    return drawn("eurosat", first_folder(root, EUROSAT, "eurosat"), EUROSAT_NAMES)


def drawn(dataset: str, images: Path, names: dict[str, str], left_out: Sequence[str] = ()) -> Split:
    """50 % training, 20 % validation and 30 % test images of each class folder, as CoOp's code drew its split files.

    Files are sorted, then shuffled by a generator seeded with the folder's name: another draw than CoOp's, but the same one
    on every machine.
    """
    folders = [folder for folder in subfolders(images) if folder.name not in left_out]
    train, val, test = Pairs(), Pairs(), Pairs()
    for label, folder in enumerate(folders):
        paths = list(find_images(folder).images)
        random.Random(folder.name).shuffle(paths)
        first, second = round(len(paths) * 0.5), round(len(paths) * 0.7)
        train += ((path, label) for path in paths[:first])
        val += ((path, label) for path in paths[first:second])
        test += ((path, label) for path in paths[second:])
    return _split(dataset, [names.get(folder.name, folder.name) for folder in folders], train, test, val)


def fgvc_aircraft(root: Path) -> Split:
    """Variants in the order of variants.txt; images_variant_{train,val,test}.txt. CoOp uses the same lists."""
    images = first_folder(root, AIRCRAFT, "fgvc_aircraft")
    names = [line for _, line in numbered_lines(images.parent / "variants.txt", "fgvc_aircraft")]

    def read(part: str) -> Pairs:
        file = images.parent / f"images_variant_{part}.txt"
        lines = [(number, *line.partition(" ")[::2]) for number, line in numbered_lines(file, "fgvc_aircraft")]
        return [
            (images / _inside(f"{image}.jpg", file, number), _label(names, name, file, number))
            for number, image, name in lines
        ]

    return _split("fgvc_aircraft", names, read("train"), read("test"), read("val"))


def oxford_pets(root: Path) -> Split:
    """annotations/trainval.txt and test.txt: `Abyssinian_100 1 1 1`, labels from 1, the breed in the file's name."""
    images = first_folder(root, PETS, "oxford_pets")
    names: dict[int, str] = {}

    def read(part: str) -> Pairs:
        file = images.parent / "annotations" / f"{part}.txt"
        pairs = Pairs()
        for number, line in numbered_lines(file, "oxford_pets"):
            if line.startswith("#"):
                continue
            match = re.fullmatch(r"(([^/ ]+)_\d+) (\d+)( \d+)*", line)
            if not match or int(match[3]) < 1:
                raise InvalidInput(f"{file}: line {number}: expected `<breed>_<number> <label> ...`, got {line[:80]!r}")
            label = int(match[3]) - 1
            names.setdefault(label, match[2].lower())
            pairs.append((images / f"{match[1]}.jpg", label))
        return pairs

    train, test = read("trainval"), read("test")
    if sorted(names) != list(range(len(names))):
        where = images.parent / "annotations"
        raise InvalidInput(f"{where}: labels must be 1 to {len(names)}, got {max(names, default=-1) + 1}")
    return _split("oxford_pets", [names[label] for label in range(len(names))], train, test)


def sun397(root: Path) -> Split:
    """Categories in the order of ClassName.txt; the first of the ten partitions, Training_01.txt and Testing_01.txt."""
    images = first_folder(root, SUN, "sun397")
    meta = images.parent if (images.parent / "ClassName.txt").is_file() else images
    categories = [line for _, line in numbered_lines(meta / "ClassName.txt", "sun397")]

    def read(part: str) -> Pairs:
        file = meta / f"{part}_01.txt"
        lines = numbered_lines(file, "sun397")
        return [
            (images / _inside(path, file, number), _label(categories, path.rpartition("/")[0], file, number))
            for number, path in lines
        ]

    return _split("sun397", [scene_name(category) for category in categories], read("Training"), read("Testing"))


def ucf101(root: Path) -> Split:
    """Actions in the order of ucfTrainTestlist/classInd.txt; trainlist01.txt and testlist01.txt; a frame for each video."""
    images = first_folder(root, UCF, "ucf101")
    lists = images.parent / "ucfTrainTestlist"
    actions = [line.split()[-1] for _, line in numbered_lines(lists / "classInd.txt", "ucf101")]

    def read(part: str) -> Pairs:
        file = lists / f"{part}list01.txt"
        pairs = Pairs()
        for number, line in numbered_lines(file, "ucf101"):
            action, _, video = line.split()[0].partition("/")
            label = _label(actions, action, file, number)
            frame = _inside(video.removesuffix(".avi") + ".jpg", file, number)
            pairs.append((images / camel_words(action) / frame, label))
        return pairs

    return _split("ucf101", [camel_words(action) for action in actions], read("train"), read("test"))


def dtd(root: Path) -> Split:
    """The first of DTD's ten official partitions, through torchvision."""
    names, (train, val, test) = _torchvision("dtd", "dtd/dtd", tv.DTD, root, ("train", "val", "test"))
    return _split("dtd", names, train, test, val)


def food101(root: Path) -> Split:
    """Food101's official train and test lists, through torchvision."""
    names, (train, test) = _torchvision("food101", "food-101", tv.Food101, root, ("train", "test"))
    return _split("food101", names, train, test)


def oxford_flowers(root: Path) -> Split:
    """The official lists of the flowers (1020 training, 1020 validation, 6149 test images), through torchvision."""
    _, (train, val, test) = _torchvision("oxford_flowers", "flowers-102", tv.Flowers102, root, ("train", "val", "test"))
    names = [name.rstrip("?") for name in tv.Flowers102.classes]  # "pink-yellow dahlia?"
    return _split("oxford_flowers", names, train, test, val)


def stanford_cars(root: Path) -> Split:
    """The official train and test lists of the cars, through torchvision; the year is moved to the front of a name."""
    names, (train, test) = _torchvision("stanford_cars", "stanford_cars", tv.StanfordCars, root, ("train", "test"))
    return _split("stanford_cars", [year_first(name) for name in names], train, test)


def _torchvision(dataset: str, folder: str, kind: Any, root: Path, parts: tuple[str, ...]) -> tuple[list[str], list[Pairs]]:
    """Class names, and the files and labels of some parts; torchvision's loader is asked for paths instead of pictures."""
    if not (root / folder).is_dir():
        raise InvalidInput(f"{dataset}/official is read from torchvision's folder {root / folder}, which is missing")
    try:
        loaded = [kind(root, split=part, download=False, loader=Path) for part in parts]
        return list(loaded[0].classes), [[(path, int(label)) for path, label in data] for data in loaded]
    except Exception as error:  # torchvision and scipy raise anything where a file is missing or damaged
        raise InvalidInput(f"{dataset}/official: {root / folder} is incomplete or damaged ({error})") from error


def _split(dataset: str, names: list[str], train: Pairs, test: Pairs, val: Pairs | None = None) -> Split:
    check_training_images(dataset, names, train)
    return Split(tuple(names), tuple(train), tuple(test), tuple(val or ()))


def _label(names: list[str], name: str, file: Path, number: int) -> int:
    if name not in names:
        raise InvalidInput(f"{file}: line {number}: {name[:80]!r} is not in the list of classes")
    return names.index(name)


def _inside(path: str, file: Path, number: int) -> str:
    """A path below the image folder, which it must not leave."""
    if ".." in path.split("/"):
        raise InvalidInput(f"{file}: line {number}: path {path[:80]!r} must stay inside the image folder")
    return path.lstrip("/")
