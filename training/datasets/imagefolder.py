"""Any tree of image files with one folder a class."""

from __future__ import annotations

import random
from pathlib import Path

from candor.clip.templates import DEFAULT_TEMPLATE, check_names
from candor.errors import InvalidInput
from training.data import ImageDataset, Sample
from training.datasets.files import find_images, image_sample, subfolders
from training.datasets.split_file import check_training_images

NAME = "imagefolder"


def imagefolder(root: Path) -> ImageDataset:
    """A data set of photographs in folders; classes are folders, in sorted order.

    Two trees are known. `root/train/<class>/...` with `root/test/<class>/...` and, where there is one,
    `root/val/<class>/...`; without a `test` folder `val` is the test set. Otherwise `root/<class>/...`, of which one half
    of each class (rounded up) becomes training and the other test images: its files are sorted by their path,
    shuffled by a generator seeded with the folder's name, and cut. So the test images are the same for every seed and
    method, and do not change when another class is added. Classes may have sub-folders.

    Args:
        root: the top folder.

    Raises:
        InvalidInput: there is no such folder, it has fewer than 4 classes, two of the same name, or one without training
            images.
    """
    if not root.is_dir():
        raise InvalidInput(f"{NAME}: {root} is no folder; it must hold one folder a class, or train/ and test/ with those")
    parts = {folder.name: folder for folder in subfolders(root) if folder.name in ("train", "val", "test")}
    if "train" in parts and len(parts) > 1:
        return _split_tree(root, parts)
    if [folder.name for folder in subfolders(root)] == ["train"]:
        raise InvalidInput(f"{NAME}: {root} has train/, but neither test/ nor val/ beside it")
    return _plain_tree(root, subfolders(root))


def _split_tree(root: Path, parts: dict[str, Path]) -> ImageDataset:
    if "test" not in parts:
        parts["test"] = parts.pop("val")
    folders = {part: subfolders(folder) for part, folder in parts.items()}
    names = _names(root / "train", folders["train"])
    samples: dict[str, tuple[Sample, ...]] = {}
    ignored = _loose_files([root, *parts.values()])
    for part in folders:
        strangers = [folder.name for folder in folders[part] if folder.name not in names]
        if strangers:
            raise InvalidInput(f"{NAME}: {root / part} has classes without training images: {', '.join(strangers[:5])}")
        found = [(names.index(folder.name), find_images(folder)) for folder in folders[part]]
        ignored += sum(content.ignored for _, content in found)
        samples[part] = tuple(image_sample(label, path) for label, content in found for path in content.images)
    return _dataset(root, names, samples["train"], samples["test"], samples.get("val", ()), ignored)


def _plain_tree(root: Path, folders: list[Path]) -> ImageDataset:
    names = _names(root, folders)
    train: list[Sample] = []
    test: list[Sample] = []
    ignored = _loose_files([root])
    for label, folder in enumerate(folders):
        content = find_images(folder)
        ignored += content.ignored
        paths = list(content.images)
        random.Random(folder.name).shuffle(paths)
        half = (len(paths) + 1) // 2
        train += (image_sample(label, path) for path in sorted(paths[:half]))
        test += (image_sample(label, path) for path in sorted(paths[half:]))
    return _dataset(root, names, tuple(train), tuple(test), (), ignored)


def _names(folder: Path, folders: list[Path]) -> list[str]:
    names = [f.name for f in folders]
    if len(names) < 4:
        found = f"only {', '.join(map(repr, names))}" if names else "none"
        raise InvalidInput(f"{NAME}: {folder} must hold at least 4 class folders (2 base, 2 new); found {found}")
    odd = [name for name in names if not name.isprintable()]
    if odd:
        raise InvalidInput(f"{NAME}: the name of {folder}/{odd[0]!a} has characters that cannot be printed")
    try:
        check_names(names)
    except InvalidInput as error:
        raise InvalidInput(f"{NAME}: {folder}: class folders must have names of their own; {error}") from error
    return names


def _loose_files(folders: list[Path]) -> int:
    """Files beside the class folders: they have no class."""
    return sum(1 for folder in folders for path in folder.iterdir() if not path.is_dir())


def _dataset(
    root: Path,
    names: list[str],
    train: tuple[Sample, ...],
    test: tuple[Sample, ...],
    val: tuple[Sample, ...],
    ignored: int,
) -> ImageDataset:
    check_training_images(f"{NAME}: {root}", names, [(s.path or root, s.label) for s in train])
    if not test:
        raise InvalidInput(f"{NAME}: {root} has no test images; a plain tree needs 2 images in a class to have one")
    return ImageDataset(NAME, tuple(names), DEFAULT_TEMPLATE, train, test, val, ignored)
