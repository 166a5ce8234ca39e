"""A build that survives a kill: features on disk as they are made, each shard with a digest, under a lock."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from candor.errors import InvalidInput
from candor.files import check_target, write_whole
from vocab_index.encoding import Encoding, Rows, Shelf

LOCK, PLAN, FEATURES = "lock", "plan.json", "features.f32"


class Parts(Shelf):
    """Features in one mapped file, and for each shard that is done a file with its digest.

    The digest covers what is built, which shard it is, and the bytes of its features. So a shard that was damaged, torn
    by a power cut, or made for another build counts as missing and is made again.

    Args:
        path: the directory of the parts.
        encoding: what is built.
    """

    def __init__(self, path: Path, encoding: Encoding) -> None:
        self._path, self._identity = path, _text(encoding.identity).encode()
        file = path / FEATURES
        _reserve(file, encoding.shape[0] * encoding.shape[1] * 4)
        self.features = np.memmap(file, np.float32, "r+", shape=encoding.shape)
        self.found = sum(len(rows) for shard, rows in enumerate(encoding.shards) if self.has(shard, rows))  # words

    def has(self, shard: int, rows: Rows) -> bool:
        """Whether the features of a shard are there, and whole."""
        try:
            return self._mark(shard).read_text(errors="replace") == self._digest(shard, rows)
        except OSError:
            return False

    def keep(self, shard: int, rows: Rows) -> None:
        """Note that the features of a shard are there."""
        write_whole(self._mark(shard), self._digest(shard, rows))

    def _mark(self, shard: int) -> Path:
        return self._path / f"{shard:06}.sha256"

    def _digest(self, shard: int, rows: Rows) -> str:
        digest = hashlib.sha256(self._identity + b"\n%d\n" % shard)
        digest.update(np.ascontiguousarray(self.features[rows]).data)
        return digest.hexdigest()


@contextmanager
def kept_parts(path: Path, encoding: Encoding, replace: bool = False) -> Iterator[Parts]:
    """The parts of a build, to go on with if there are any. They are removed when the block ends well.

    Args:
        path: the directory of the parts, made if it is not there.
        encoding: what is built.
        replace: whether parts of another build are thrown away.

    Raises:
        InvalidInput: another process is building there, the parts are of another build, the directory holds other
            things, or there is no room on the disk.
    """
    with ExitStack() as held:
        try:
            held.enter_context(_locked(path))
            _claim(path, encoding.identity, replace)
            parts = Parts(path, encoding)
        except OSError as error:
            raise InvalidInput(f"cannot keep the parts of the build in {path}: {error.strerror}") from error
        yield parts
        _clear(path)
        (path / LOCK).unlink()
        path.rmdir()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the directory's lock; the kernel lets go of it whenever the process ends."""
    check_target(path, replace=True, mark=LOCK)
    while True:
        path.mkdir(parents=True, exist_ok=True)
        try:
            opened = (path / LOCK).open("a")
        except FileNotFoundError:
            continue
        with opened as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InvalidInput(
                    f"another process is building in {path}; wait for it, stop it, or choose another --out"
                ) from None
            if _stands_at(path / LOCK, file.fileno()):
                yield
                return
        # another process ended its build, and removed this directory, between our opening the lock and taking it


def _stands_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _claim(path: Path, identity: dict[str, Any], replace: bool) -> None:
    """See that the parts are of this build, or begin anew where there are none."""
    plan = path / PLAN
    if plan.exists():
        kept = plan.read_text(encoding="utf-8", errors="replace")
        if kept == _text(identity):
            return
        if not replace:
            raise InvalidInput(
                f"{path} holds an unfinished build of something else ({_difference(kept, identity)}); finish that one by "
                "its own command, choose another --out, or throw it away with --replace"
            )
    _clear(path)
    write_whole(plan, _text(identity))


def _clear(path: Path) -> None:
    """Remove the parts but not the lock, the plan first: without one, what a kill leaves here counts as nothing."""
    for child in sorted(path.iterdir(), key=lambda child: child.name != PLAN):
        if child.name != LOCK:
            child.unlink()


def _difference(kept: str, identity: dict[str, Any]) -> str:
    """The first thing that another build does otherwise."""
    try:
        other = json.loads(kept)
        name = next(name for name, value in identity.items() if other.get(name) != value)
    except (ValueError, AttributeError, StopIteration):
        return "its plan is damaged"
    return f"{name} {str(other.get(name))[:80]!r}, not {str(identity[name])[:80]!r}"


def _text(identity: dict[str, Any]) -> str:
    return json.dumps(identity, indent=2) + "\n"


def _reserve(file: Path, size: int) -> None:
    """A file of that size, with its room on the disk taken: a full disk is an error here, not a SIGBUS later."""
    with file.open("ab") as opened:
        opened.truncate(size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(opened.fileno(), 0, size)
