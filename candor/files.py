"""Files that are written whole or not at all, and told apart by their digest."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from candor.errors import InvalidInput


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that a kill at any instant leaves the old one or the new one.

    Args:
        path: of the file.
        text: that it is to hold.
        mode: who may read it; nobody but the owner can before it is whole.
    """
    with _draft(path, text, mode) as draft:
        draft.replace(path)
        _keep_name(path)


def write_new(path: Path, text: str, mode: int = 0o644) -> bool:
    """Write a file that is not there yet. Of several processes that do so at once one wins, and what it wrote stays.

    Args:
        path: of the file.
        text: that it is to hold.
        mode: who may read it; nobody but the owner can before it is whole.

    Returns:
        Whether this call made it. The file is there and whole either way.
    """
    with _draft(path, text, mode) as draft:
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            return False
        _keep_name(path)
        return True


def _keep_name(path: Path) -> None:
    """Have the name of a file on the disk, which may lose it with its power otherwise, and keep the file."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems know no such thing
            raise
    finally:
        os.close(directory)


@contextmanager
def _draft(path: Path, text: str, mode: int) -> Iterator[Path]:
    """A whole file beside `path`, on the disk, which vanishes after the block where it was not moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(mode)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def check_target(path: Path, replace: bool = False, *, mark: str) -> Path:
    """See that a directory may be written at `path`, or replaced there. Nothing is changed.

    Args:
        path: where it is to be.
        replace: whether a directory that is there may be replaced.
        mark: a file that such directories hold; one that holds other files, but not this one, is never replaced.

    Returns:
        The path without links: a link stays where it is, and what it points to is replaced.

    Raises:
        InvalidInput: `path` is there and is not to be replaced, is not a directory, holds something else, is the working
            directory or holds it, or lies in what is not a directory.
    """
    try:
        real = Path(os.path.realpath(path))
        if Path.cwd().is_relative_to(real):
            raise InvalidInput(f"{path} is the working directory or holds it; name a new directory")
        if os.path.lexists(real):
            _check_replaceable(path, replace, mark)
        nearest = next(parent for parent in real.parents if parent.exists())
    except OSError as error:
        raise InvalidInput(f"cannot write to {path}: {error.strerror}") from error
    if not nearest.is_dir():
        raise InvalidInput(f"cannot write to {path}: {nearest} is not a directory")
    return real


def _check_replaceable(path: Path, replace: bool, mark: str) -> None:
    if not path.is_dir():
        raise InvalidInput(f"{path} is not a directory; choose another path")
    if not (path / mark).is_file() and any(path.iterdir()):
        raise InvalidInput(f"{path} exists already, and holds other files but no {mark}; choose another path")
    if not replace:
        raise InvalidInput(f"{path} exists already; choose another path or replace it")


@contextmanager
def whole_directory(path: Path, replace: bool = False, *, mark: str) -> Iterator[Path]:
    """A temporary directory beside `path` that becomes `path` when the block ends well, and vanishes otherwise.

    A replacement is two renames. A kill between them leaves no `path`: the old directory is then beside it as
    `.NAME.old.*`, and the new one as `.NAME.*`. A kill at any other moment leaves `path` whole, old or new, with perhaps
    one of these beside it.

    Args:
        path: the directory to write.
        replace: whether a directory that is there is replaced, with all that it holds.
        mark: a file that the block writes. Only a directory that is empty or holds it is replaced.

    Raises:
        InvalidInput: as `check_target`, before the block and again after it, or the parent cannot be written.
    """
    real = check_target(path, replace, mark=mark)
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{real.name}.", dir=real.parent))
    except OSError as error:
        raise InvalidInput(f"cannot write to {real.parent}: {error.strerror}") from error
    try:
        yield draft
        draft.chmod(0o755)
        check_target(path, replace, mark=mark)  # something may have appeared there meanwhile
        if real.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{real.name}.old.", dir=real.parent))
            real.replace(retired)
            draft.replace(real)
            shutil.rmtree(retired)
        else:
            draft.replace(real)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
