"""The files of label sets: written whole, one worker at a time, and read again when another worker has written."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from candor.errors import InvalidInput
from candor.files import write_whole
from service.labels.spec import NAME, LabelSetSpec

log = logging.getLogger("candor.service")

ENDING = ".json"
TICK_NS = 100_000_000  # a directory that changed so shortly ago may change again without another time

Stamp = tuple[int, int, int]  # modification time, size and inode


@dataclass(frozen=True)
class _Seen:
    """A directory as it was read.

    Attributes:
        stamp: of the directory before it was read; None where it may have changed since without another one.
        files: of each name: the file's stamp, and its label set unless it is damaged.
        sets: by name.
    """

    stamp: Stamp | None = None
    files: Mapping[str, tuple[Stamp, LabelSetSpec | None]] = field(default_factory=dict)
    sets: Mapping[str, LabelSetSpec] = field(default_factory=dict)


class LabelSetFiles:
    """The label sets of a directory, one JSON file each. Safe from several threads and processes.

    Args:
        directory: of the files; made with the first one.

    Raises:
        InvalidInput: it cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen, self._readable = _Seen(), True
        try:
            self._refresh()
        except OSError as error:
            raise InvalidInput(f"CANDOR_STATE: {directory} cannot be read: {error.strerror}") from error

    def sets(self) -> Mapping[str, LabelSetSpec]:
        """The label sets now, by name. Costs one `stat` while nothing changes; a changed file is read, the others are not.

        Where the directory cannot be read any more they are as it was read last, and an error is logged once.
        """
        try:
            self._refresh()
            self._readable = True
        except OSError as error:
            if self._readable:
                log.error("the label sets cannot be read again (%s); those read last stay", error.strerror)
            self._readable = False
        return self._seen.sets

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What is seen in the block cannot be changed by another worker before its end.

        Raises:
            OSError: the directory cannot be made.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network file systems lock no directory
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def write(self, name: str, spec: LabelSetSpec) -> None:
        """Write a label set.

        Raises:
            OSError: it cannot be written; what was there is there still.
        """
        path = self._path(name)
        if name not in self.sets() and path.exists():  # it was damaged; somebody may want to look at it
            path.replace(path.with_name(f"{path.name}.damaged"))
        write_whole(path, spec.model_dump_json(exclude_none=True), mode=0o600)

    def remove(self, name: str) -> None:
        """Remove a label set.

        Raises:
            OSError: it cannot be removed.
        """
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{ENDING}"

    def _refresh(self) -> None:
        stamp = self._stamp()
        if stamp is None:
            self._seen = _Seen()
        elif stamp != self._seen.stamp:
            files = dict(_read(self._directory, self._seen.files))
            sets = {name: spec for name, (_, spec) in files.items() if spec is not None}
            self._seen = _Seen(stamp if time.time_ns() - stamp[0] > TICK_NS else None, files, sets)

    def _stamp(self) -> Stamp | None:
        try:
            return _stamp(self._directory.stat())
        except (FileNotFoundError, NotADirectoryError):  # it is made with the first label set
            return None


def _read(
    directory: Path, known: Mapping[str, tuple[Stamp, LabelSetSpec | None]]
) -> Iterator[tuple[str, tuple[Stamp, LabelSetSpec | None]]]:
    """What a directory keeps; a file that is damaged stays where it is, and the log names it."""
    for path in sorted(directory.iterdir()):
        if path.suffix != ENDING or not re.fullmatch(NAME, path.stem) or not path.is_file():
            continue
        try:
            stamp = _stamp(path.stat())
            if path.stem in known and known[path.stem][0] == stamp:
                yield path.stem, known[path.stem]
                continue
            content = path.read_bytes()
        except FileNotFoundError:  # another worker has just removed it
            continue
        except OSError as error:
            _warn(path, error)
            continue
        try:
            yield path.stem, (stamp, LabelSetSpec.model_validate_json(content))
        except ValidationError as error:
            _warn(path, error)
            yield path.stem, (stamp, None)


def _warn(path: Path, error: Exception) -> None:
    log.warning("the label set in %s is left out: its file is damaged (%s)", path, type(error).__name__)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino
