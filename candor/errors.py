"""The errors a caller can cause or must handle. The command line prints them as one line; the service as an envelope."""

from __future__ import annotations

from pathlib import Path


class CandorError(Exception):
    """Base of every error that Candor raises on purpose; its text is one sentence a person can act on."""


class InvalidInput(CandorError):
    """A value that the caller gave cannot be used. The message names the value and the valid ones."""


class IntegrityError(CandorError):
    """A file on disk is missing, damaged or made for something else.

    Args:
        path: the file or directory.
        expected: what it should be.
        found: what it is.
    """

    def __init__(self, path: Path | str, expected: object, found: object) -> None:
        self.path, self.expected, self.found = Path(path), expected, found
        super().__init__(f"{path}: expected {expected}, found {found}")
