"""ImageNet and its four test sets of other origin: V2, Sketch, A and R."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from candor.errors import InvalidInput
from training.data import ImageDataset, Sample
from training.datasets.files import find_images, first_folder, image_sample, numbered_lines, subfolders
from training.datasets.templates import TEMPLATES

CLASSNAMES = "classnames.txt"


@dataclass(frozen=True)
class ShiftSpec:
    """A test set with ImageNet's classes.

    Attributes:
        home: its folder under the root.
        images: the folder of class folders inside that.
        numbered: class folders are called 0, 1, 2, ... after the class's place in ImageNet, not by WordNet id.
        subset: it has some of the classes only, and is classified among those.
    """

    home: str
    images: str
    numbered: bool = False
    subset: bool = False


SHIFTS: dict[str, ShiftSpec] = {
    "imagenet_a": ShiftSpec("imagenet-adversarial", "imagenet-a", subset=True),
    "imagenet_r": ShiftSpec("imagenet-rendition", "imagenet-r", subset=True),
    "imagenet_sketch": ShiftSpec("imagenet-sketch", "images"),
    "imagenet_v2": ShiftSpec("imagenetv2", "imagenetv2-matched-frequency-format-val", numbered=True),
}


def imagenet(root: Path) -> ImageDataset:
    """ImageNet: shots from the training images, reported on the validation images.

    There is no `val`: other code uses the validation images both as validation and as test set, so what is fitted on
    "val" there is fitted on test images. `held_out` draws training images instead.

    Raises:
        InvalidInput: a folder or classnames.txt is missing or not of its form, or a class has no folder.
    """
    name = "imagenet"
    images = first_folder(root, ("imagenet/images", "imagenet"), name)
    names = read_classnames(root / "imagenet" / CLASSNAMES, name)
    train, test = (_class_folders(name, first_folder(images, (part,), name), list(names)) for part in ("train", "val"))
    return ImageDataset(name, tuple(names.values()), TEMPLATES[name], train, test)


def imagenet_shift(name: str, root: Path) -> ImageDataset:
    """A test set with ImageNet's classes, in ImageNet's order; it has no training images.

    Args:
        name: in SHIFTS.
        root: the folder that holds all data sets.

    Raises:
        InvalidInput: as for `imagenet`.
    """
    spec = SHIFTS[name]
    images = first_folder(root, (f"{spec.home}/{spec.images}",), name)
    own = root / spec.home / CLASSNAMES
    names = read_classnames(own if own.is_file() else root / "imagenet" / CLASSNAMES, name)
    if spec.subset:
        present = {folder.name for folder in subfolders(images)}
        _refuse_strangers(name, images, present - set(names))
        names = {wnid: text for wnid, text in names.items() if wnid in present}
    folders = [str(place) for place in range(len(names))] if spec.numbered else list(names)
    test = _class_folders(name, images, folders)
    return ImageDataset(name, tuple(names.values()), TEMPLATES[name], (), test)


def read_classnames(file: Path, dataset: str) -> dict[str, str]:
    """ImageNet's classes: WordNet id -> CLIP's name for it, from lines such as `n01440764 tench`.

    Two pairs of the real 1000 classes share a name (missile, sunglasses); that is CLIP's list, and it is kept.

    Raises:
        InvalidInput: the file is missing, a line has another form, or the ids do not ascend.
    """
    names: dict[str, str] = {}
    for number, line in numbered_lines(file, dataset):
        wnid, _, text = line.partition(" ")
        if not re.fullmatch(r"n\d{8}", wnid) or not text.strip():
            raise InvalidInput(f"{file}: line {number}: expected `n01440764 tench`, got {line[:80]!r}")
        if names and wnid <= next(reversed(names)):
            raise InvalidInput(f"{file}: line {number}: ids must ascend, as ImageNet numbers its classes; got {wnid}")
        names[wnid] = text.strip()
    return names


def _class_folders(name: str, images: Path, folders: list[str]) -> tuple[Sample, ...]:
    """Samples of class folders; the label is the place in `folders`."""
    present = {folder.name for folder in subfolders(images)}
    _refuse_strangers(name, images, present - set(folders))
    missing = sorted(set(folders) - present)
    if missing:
        raise InvalidInput(f"{name}: {images} lacks {len(missing)} class folders, such as {missing[0]}")
    samples: list[Sample] = []
    for label, folder in enumerate(folders):
        paths = find_images(images / folder).images
        if not paths:
            raise InvalidInput(f"{name}: {images / folder} has no images")
        samples += (image_sample(label, path) for path in paths)
    return tuple(samples)


def _refuse_strangers(name: str, images: Path, strangers: set[str]) -> None:
    if strangers:
        raise InvalidInput(f"{name}: {images / min(strangers)} is none of the classes in {CLASSNAMES}")
