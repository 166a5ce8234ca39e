"""A file that is watched: what it says changes without a restart."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from candor.errors import CandorError, InvalidInput

MAX_BYTES = 2**20

Stamp = tuple[int, int, int, int]  # a file's modification and change times, size and inode
V = TypeVar("V")


class WatchedFile(Generic[V]):
    """What a file says, as it stands now. Safe from several threads.

    A file that has been damaged or removed keeps what was last good, and an error is logged once.

    Args:
        path: of the file, which holds secrets.
        what: it holds, named in logs.
        parse: from its text to what it says; raises InvalidInput, whose message holds nothing of the text.
        log: where changes and errors go.

    Raises:
        InvalidInput: it cannot be read, or is damaged.
    """

    def __init__(self, path: Path, what: str, parse: Callable[[str], V], log: logging.Logger) -> None:
        self._path, self._what, self._parse, self._log = path, what, parse, log
        try:
            self._known: tuple[Stamp | None, V] = self._read()
        except (OSError, CandorError) as error:
            raise InvalidInput(f"cannot use the {what} of {path}: {_reason(error)}") from error

    def current(self) -> V:
        """What it says now. Costs one `stat` while the file stays the same."""
        known, value = self._known
        try:
            stamp = _stamp(self._path.stat())
        except OSError:
            stamp = None
        return value if stamp == known else self._reload(stamp, value)

    def _reload(self, stamp: Stamp | None, value: V) -> V:
        try:
            stamp, value = self._read()
            self._log.info("the file of %s has changed", self._what)
        except (OSError, CandorError) as error:
            self._log.error("the file of %s cannot be used (%s); the last good ones stay valid", self._what, _reason(error))
        self._known = stamp, value
        return value

    def _read(self) -> tuple[Stamp, V]:
        with self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise InvalidInput(f"larger than {MAX_BYTES} bytes")
        if status.st_mode & 0o007:
            everybody = "the file of %s may be read or written by every user of this machine; chmod 600 it"
            self._log.warning(everybody, self._what)
        try:
            return _stamp(status), self._parse(text.decode())
        except UnicodeDecodeError:
            raise InvalidInput("not text") from None


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _reason(error: Exception) -> str:
    return error.strerror or "it cannot be read" if isinstance(error, OSError) else str(error)
