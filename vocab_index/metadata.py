"""What is known of each word, as one JSON object a line; a row is parsed when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from candor.errors import IntegrityError, InvalidInput


def write_metadata(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one line a word.

    Raises:
        InvalidInput: a row is not plain JSON.
    """
    with path.open("w", encoding="ascii", newline="\n") as file:
        for number, row in enumerate(rows):
            try:
                file.write(json.dumps(row, allow_nan=False) + "\n")
            except (TypeError, ValueError) as error:
                raise InvalidInput(f"metadata of row {number} is not JSON: {error}") from error


class MetadataFile:
    """The rows of a metadata file, which stays on disk.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes = np.memmap(path, np.uint8, "r")
        self._ends = np.flatnonzero(self._bytes == ord("\n"))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row: int) -> Mapping[str, Any]:
        """The row as a mapping.

        Raises:
            IntegrityError: the line is no JSON object.
        """
        start = int(self._ends[row - 1]) + 1 if row else 0
        try:
            found = json.loads(self._bytes[start : int(self._ends[row])].tobytes())
        except (ValueError, RecursionError) as error:
            raise IntegrityError(self._path, f"a JSON object in line {row + 1}", str(error)) from error
        if not isinstance(found, dict):
            raise IntegrityError(self._path, f"a JSON object in line {row + 1}", type(found).__name__)
        return found
