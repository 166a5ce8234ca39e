"""Image files on disk: which a folder holds, and how one becomes a sample."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from PIL import Image

from candor.errors import InvalidInput
from candor.images import UnreadableImage, decode_image
from training.data import Sample

EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


_T = TypeVar("_T")


@dataclass(frozen=True)
class Folder:
    """What a folder holds, at any depth.

    Attributes:
        images: image files, sorted by their path below the folder.
        ignored: hidden files, and files whose extension is no image's.
    """

    images: tuple[Path, ...]
    ignored: int


def image_sample(label: int, path: Path) -> Sample:
    """A sample of an image file, which is read when the sample is opened."""
    return Sample(label, partial(open_image, path), path)


def open_image(path: Path) -> Image.Image:
    """The image in a file, as RGB.

    Raises:
        UnreadableImage: the file is missing or cannot be read, or is no image; the message names it.
    """
    try:
        return decode_image(path.read_bytes())
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise UnreadableImage(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from error
    except UnreadableImage as error:
        raise UnreadableImage(f"{path}: {error}") from error


def find_images(folder: Path) -> Folder:
    """All image files in a folder and its sub-folders.

    Links to folders are followed, but no folder is looked into twice, so links in a circle come to an end. A broken link
    counts as an image if it is named like one: it is then reported where it is opened, not lost.

    Raises:
        InvalidInput: a folder cannot be read.
    """
    images: list[str] = []
    ignored = 0
    seen: set[tuple[int, int]] = set()
    to_do = [str(folder)]
    while to_do:
        here = to_do.pop()
        status = _reading(here, os.stat)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in _reading(here, _scan):
            if _is_folder(entry):
                to_do.append(entry.path)
            elif _is_image(entry):
                images.append(entry.path)
            else:
                ignored += 1
    return Folder(tuple(Path(path) for path in sorted(images)), ignored)


def subfolders(folder: Path) -> list[Path]:
    """The folders directly inside one, hidden ones left out, sorted by name.

    Raises:
        InvalidInput: it cannot be read.
    """
    return [Path(entry.path) for entry in _reading(str(folder), _scan) if _is_folder(entry)]


def first_folder(root: Path, candidates: tuple[str, ...], dataset: str) -> Path:
    """The first of some folders under `root` that is there.

    Raises:
        InvalidInput: none is.
    """
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    raise InvalidInput(f"{dataset}: no folder of images under {root}; looked for {', '.join(candidates)}")


def numbered_lines(path: Path, dataset: str) -> list[tuple[int, str]]:
    """The lines of a text file that hold anything, stripped, each with its number from 1.

    Raises:
        InvalidInput: the file is missing or no UTF-8 text.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise InvalidInput(f"{dataset}: {path} is needed, but cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{dataset}: {path} is no UTF-8 text ({error})") from error
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def _reading(folder: str, read: Callable[[str], _T]) -> _T:
    try:
        return read(folder)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot be read ({error.strerror})") from error


def _scan(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and not _hidden(entry.name)
    except OSError:  # a link to itself
        return False


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Named like an image, and a file or a broken link (a pipe would block its reader for ever)."""
    if _hidden(entry.name) or Path(entry.name).suffix.lower() not in EXTENSIONS:
        return False
    return Path(entry.path).is_file() or not Path(entry.path).exists() if entry.is_symlink() else entry.is_file()
