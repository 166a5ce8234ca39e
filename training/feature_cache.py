"""Image features on disk, found again by what they were made of."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from candor.errors import IntegrityError, InvalidInput

FILE = "features.sqlite3"
CHECK_BYTES = 8
WAIT_SECONDS = 120.0  # for another process that writes
KEYS_A_QUERY = 500
BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED")
DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def default_cache_dir() -> Path:
    """Where features are kept: $CANDOR_CACHE, else candor/features below $XDG_CACHE_HOME or ~/.cache.

    Raises:
        InvalidInput: no variable is set and there is no home directory.
    """
    if own := os.environ.get("CANDOR_CACHE"):
        return Path(own)
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        # a relative XDG_CACHE_HOME is to be ignored, says its specification
        return (base if base.is_absolute() else Path.home() / ".cache") / "candor" / "features"
    except RuntimeError as error:
        raise InvalidInput("there is no home directory to keep features in; set CANDOR_CACHE to a directory") from error


class FeatureCache:
    """Features by key, in one SQLite file that several processes may read and write at once.

    A key says everything that the feature depends on, so an entry never gets old; what is no longer asked for just lies
    there. A row holds the float32 values and a check sum: a row that is damaged or of the wrong length counts as missing
    and is written anew. A damaged file is an error, as it cannot be mended; it is safe to remove at any time.

    Args:
        root: directory of the file, made when it is first written; None keeps nothing.
    """

    def __init__(self, root: Path | None) -> None:
        self.path = None if root is None else root / FILE

    def get(self, keys: Collection[bytes], width: int) -> dict[bytes, Tensor]:
        """The features that are there.

        Args:
            keys: what to look for.
            width: D, the length that a feature must have.

        Returns:
            For each key that is there its feature, (D,) float32.

        Raises:
            IntegrityError: the file is damaged.
            InvalidInput: it cannot be read.
        """
        if self.path is None or not self.path.exists():
            return {}
        wanted, found = list(keys), {}
        with self._connection() as connection:
            for start in range(0, len(wanted), KEYS_A_QUERY):
                part = wanted[start : start + KEYS_A_QUERY]
                query = f"SELECT key, value FROM features WHERE key IN ({','.join('?' * len(part))})"
                for key, value in connection.execute(query, part):
                    if (feature := _unpack(key, value, width)) is not None:
                        found[key] = feature
        return found

    def put(self, features: Mapping[bytes, Tensor]) -> None:
        """Keep features, all or none of them.

        Args:
            features: for each key its feature, (D,).

        Raises:
            IntegrityError: the file is damaged.
            InvalidInput: it cannot be written.
        """
        if self.path is None or not features:
            return
        rows = [(key, _pack(key, feature)) for key, feature in features.items()]
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)
            connection.execute("COMMIT")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each call: nothing to share between threads or to carry over a fork."""
        assert self.path is not None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)) as connection:
                _prepare(connection)
                yield connection
        except OSError as error:
            raise InvalidInput(f"cannot keep features in {self.path.parent}: {error.strerror}") from error
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "").startswith(DAMAGED):
                expected = "a feature cache (remove the file: features are computed anew)"
                raise IntegrityError(self.path, expected, error) from error
            raise InvalidInput(f"cannot use the feature cache {self.path}: {error}") from error


def _prepare(connection: sqlite3.Connection) -> None:
    """Write-ahead logging, so that readers do not wait for a writer; and the one table."""
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        # another process is making this same change; the mode is a matter of speed, the locks hold in either
        if not getattr(error, "sqlite_errorname", "").startswith(BUSY):
            raise
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")


def _check(key: bytes, values: bytes) -> bytes:
    return hashlib.blake2b(key + values, digest_size=CHECK_BYTES).digest()


def _pack(key: bytes, feature: Tensor) -> bytes:
    values = feature.detach().cpu().to(torch.float32).numpy().astype("<f4").tobytes()
    return values + _check(key, values)


def _unpack(key: bytes, row: object, width: int) -> Tensor | None:
    if not isinstance(row, bytes) or len(row) != 4 * width + CHECK_BYTES:
        return None
    values = row[:-CHECK_BYTES]
    if _check(key, values) != row[-CHECK_BYTES:]:
        return None
    return torch.from_numpy(np.frombuffer(values, "<f4").astype(np.float32))
