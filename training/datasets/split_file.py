"""CoOp's `split_zhou_*.json` files: which image is for training, validation and test, its label and its class name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from candor.errors import InvalidInput

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Which images a data set has.

    Attributes:
        classnames: by label.
        train: (path, label) pairs.
        test: (path, label) pairs.
        val: (path, label) pairs; may be empty.
    """

    classnames: tuple[str, ...]
    train: tuple[tuple[Path, int], ...]
    test: tuple[tuple[Path, int], ...]
    val: tuple[tuple[Path, int], ...] = ()


def read_split(file: Path, images: Path) -> Split:
    """Read a split file.

    It holds `{"train": [[path, label, class name], ...], "val": ..., "test": ...}`, with paths relative to the image
    folder. Source: CoOp, datasets/oxford_pets.py.

    Args:
        file: the split file.
        images: the image folder; images are not looked for here, but when they are opened.

    Raises:
        InvalidInput: the file is not of this form, an entry's path leaves the image folder or is both a training and a test
            image, the labels are not 0, 1, 2, ... with one name each, or a class has no training image. The message
            names the file and the entry.
    """
    content = _parse(file)
    names: dict[int, str] = {}
    parts: dict[str, tuple[tuple[Path, int], ...]] = {}
    for part in PARTS:
        entries = [_entry(file, f"{part}[{i}]", entry) for i, entry in enumerate(content[part])]
        for i, (_, label, name) in enumerate(entries):
            if names.setdefault(label, name) != name:
                _refuse(file, f"{part}[{i}]", f"label {label} is {name!r} here and {names[label]!r} elsewhere")
        parts[part] = tuple((images / path, label) for path, label, _ in entries)
    if sorted(names) != list(range(len(names))):
        absent = min(set(range(len(names))) - set(names))
        raise InvalidInput(f"{file}: labels must be 0 to n-1; there are {len(names)} labels, and {absent} is none of them")
    check_training_images(str(file), [names[label] for label in sorted(names)], parts["train"])
    both = {path for path, _ in parts["test"]} & {path for part in ("train", "val") for path, _ in parts[part]}
    if both:
        raise InvalidInput(f"{file}: {min(both)} is a test image and a training or val image")
    return Split(tuple(names[label] for label in range(len(names))), parts["train"], parts["test"], parts["val"])


def check_training_images(where: str, classnames: Sequence[str], train: Sequence[tuple[Path, int]]) -> None:
    """Every class must have an image to learn from.

    Raises:
        InvalidInput: some have none; the message begins with `where` and names them.
    """
    without = sorted(set(range(len(classnames))) - {label for _, label in train})
    if without:
        more = f" and {len(without) - 5} more" if len(without) > 5 else ""
        raise InvalidInput(f"{where}: no training image for {', '.join(repr(classnames[i]) for i in without[:5])}{more}")


def _parse(file: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{file}: not a JSON file ({error})") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in PARTS):
        raise InvalidInput(f"{file}: a split file holds an object with the lists {', '.join(PARTS)}")
    if not content["train"] or not content["test"]:
        raise InvalidInput(f"{file}: the lists train and test must not be empty")
    return content


def _entry(file: Path, where: str, entry: Any) -> tuple[str, int, str]:
    """A checked [path, label, class name]."""
    match entry:
        case [str(path), int(label), str(name)] if type(label) is int and name.strip():
            pass
        case _:
            _refuse(file, where, f"must be [path, label, class name], got {str(entry)[:100]}")
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
        _refuse(file, where, f"path {path[:100]!r} must stay inside the image folder")
    return path, label, name


def _refuse(file: Path, where: str, why: str) -> NoReturn:
    raise InvalidInput(f"{file}: {where}: {why}")
