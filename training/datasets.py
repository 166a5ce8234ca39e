"""Data sets by name. A new one is one function and one line here."""

from __future__ import annotations

from collections.abc import Callable

from candor.errors import InvalidInput
from training.data import ImageDataset
from training.glyphs import glyphs

DATASETS: dict[str, Callable[[str], ImageDataset]] = {"glyphs": glyphs}


def load_dataset(name: str) -> ImageDataset:
    """A data set by name, `family/part`, such as "glyphs/cats-and-cows".

    Raises:
        InvalidInput: no such family or part; the message lists the valid ones.
    """
    family, _, part = name.partition("/")
    if family not in DATASETS:
        raise InvalidInput(f"unknown data set {name!r}; valid: {', '.join(f'{known}/...' for known in DATASETS)}")
    return DATASETS[family](part)
