"""A file of keys that is watched: keys are rotated without a restart."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from candor.errors import CandorError, InvalidInput
from service.guard.keys import KeySet, NamedKey, read_keys

log = logging.getLogger("candor.keys")

MAX_BYTES = 2**20

Stamp = tuple[int, int, int, int]  # a file's modification and change times, size and inode


class KeyFile:
    """The keys of a file, as it stands now.

    A file that has been damaged or removed keeps the last good keys, and an error is logged once; a sound one without any
    key lets nobody in.

    Args:
        path: of the file.

    Raises:
        InvalidInput: it cannot be read, is damaged or holds no key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: Stamp | None = None
        try:
            self._keys = self._read()
        except (OSError, CandorError) as error:
            raise InvalidInput(f"cannot use the keys of {path}: {_reason(error)}") from error
        if not self._keys:
            raise InvalidInput(f"{path} holds no key; make one: candor keys add NAME --file {path}")

    def current(self) -> tuple[NamedKey, ...]:
        """The keys now. Costs one `stat` while the file stays the same."""
        try:
            stamp = _stamp(self._path.stat())
        except OSError:
            stamp = None
        if stamp != self._stamp:
            self._reload(stamp)
        return self._keys

    def _reload(self, stamp: Stamp | None) -> None:
        self._stamp = stamp
        try:
            self._keys = self._read()
            log.info("the file of keys has changed: %d keys now", len(self._keys))
        except (OSError, CandorError) as error:
            log.error("the file of keys cannot be used (%s); the last good keys stay valid", _reason(error))

    def _read(self) -> tuple[NamedKey, ...]:
        with self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read(MAX_BYTES + 1)
        self._stamp = _stamp(status)
        if len(text) > MAX_BYTES:
            raise InvalidInput(f"larger than {MAX_BYTES} bytes")
        if status.st_mode & 0o007:
            log.warning("the file of keys may be read or written by every user of this machine; chmod 600 it")
        return _decoded(text).keys


def _decoded(text: bytes) -> KeySet:
    try:
        return read_keys(text.decode())
    except UnicodeDecodeError:
        raise InvalidInput("not text") from None


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _reason(error: Exception) -> str:
    return error.strerror or "it cannot be read" if isinstance(error, OSError) else str(error)
