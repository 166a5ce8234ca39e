"""Data sets by name. A new one is one function and one line in `DATASETS`; with a split file like CoOp's, one in `COOP`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from candor.errors import InvalidInput
from training.data import ImageDataset
from training.datasets.coop import COOP, coop_dataset
from training.datasets.files import image_sample
from training.datasets.imagefolder import imagefolder
from training.datasets.imagenet import SHIFTS, imagenet, imagenet_shift
from training.glyphs import glyphs

__all__ = ["DATASETS", "image_sample", "load_dataset"]

Loader = Callable[[Path | None, str], ImageDataset]


def _on_disk(name: str, load: Callable[[Path], ImageDataset]) -> Loader:
    """A loader of a data set that has a root and no parts."""

    def loader(root: Path | None, part: str) -> ImageDataset:
        if part:
            raise InvalidInput(f"unknown data set '{name}/{part}'; valid: {name}")
        return load(_needed(name, root))

    return loader


def _coop(name: str) -> Loader:
    return lambda root, part: coop_dataset(name, _needed(name, root), part)


def _needed(name: str, root: Path | None) -> Path:
    if root is None:
        raise InvalidInput(f"{name} needs a root (--root): the folder that holds it")
    return root.expanduser()


DATASETS: dict[str, Loader] = {
    "glyphs": lambda _, task: glyphs(task),
    "imagefolder": _on_disk("imagefolder", imagefolder),
    **{name: _coop(name) for name in COOP},
    "imagenet": _on_disk("imagenet", imagenet),
    **{name: _on_disk(name, partial(imagenet_shift, name)) for name in SHIFTS},
}


def load_dataset(name: str, root: Path | None = None) -> ImageDataset:
    """A data set by name: `family` or `family/part`, such as "dtd", "dtd/official" or "glyphs/cats-and-cows".

    Nothing is downloaded, and no image is opened here.

    Args:
        name: in DATASETS, with a part where the data set has parts.
        root: the folder of an `imagefolder`; for the others the folder that holds all data sets (CoOp's $DATA). The glyphs
            need none.

    Raises:
        InvalidInput: no such family or part (the message lists the valid ones), or its files are missing or not of their
            form.
    """
    family, _, part = name.partition("/")
    if family not in DATASETS:
        valid = ", ".join("glyphs/<task>" if known == "glyphs" else known for known in DATASETS)
        raise InvalidInput(f"unknown data set {name!r}; valid: {valid}")
    return DATASETS[family](root, part)
