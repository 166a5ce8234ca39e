"""Files that are written whole or not at all, and told apart by their digest."""

from __future__ import annotations

import hashlib
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


@contextmanager
def whole_directory(path: Path, replace: bool = False) -> Iterator[Path]:
    """A temporary directory beside `path` that becomes `path` when the block ends well, and vanishes otherwise.

    Raises:
        InvalidInput: `path` is there and is not to be replaced, or its parent cannot be written.
    """
    if path.exists() and not replace:
        raise InvalidInput(f"{path} exists already; choose another path or remove it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise InvalidInput(f"cannot write to {path.parent}: {error.strerror}") from error
    try:
        yield draft
        draft.chmod(0o755)
        if path.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
            path.replace(retired)
            draft.replace(path)
            shutil.rmtree(retired)
        else:
            draft.replace(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
