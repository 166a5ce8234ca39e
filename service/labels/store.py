"""Label sets that callers keep by name."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from service.errors import ApiError
from service.labels.files import LabelSetFiles
from service.labels.spec import NAME, LabelSetSpec

log = logging.getLogger("candor.service")

SHOWN = 10  # names in a message
MOST_SETS = 100


class LabelSetStore:
    """Label sets by name. Safe from several threads; the workers of a server that have one directory have the same ones.

    Args:
        directory: of their files; made with the first one. None keeps them in memory.
        most: how many are kept.

    Raises:
        InvalidInput: the directory cannot be read.
    """

    def __init__(self, directory: Path | None, most: int = MOST_SETS) -> None:
        self._files = LabelSetFiles(directory) if directory else None
        self._most = most
        self._writing = threading.Lock()
        self._in_memory: dict[str, LabelSetSpec] = {}  # replaced, never changed: readers need no lock

    def all(self) -> dict[str, LabelSetSpec]:
        """All label sets, in the order of their names."""
        return dict(sorted(self._sets().items()))

    def names(self) -> list[str]:
        """Of all label sets, sorted."""
        return sorted(self._sets())

    def get(self, name: str) -> LabelSetSpec:
        """A label set.

        Raises:
            ApiError: 404 where there is none of that name.
        """
        sets = self._sets()
        if name not in sets:
            raise _unknown(name, sorted(sets))
        return sets[name]

    def check_name(self, name: str) -> None:
        """See that a label set of that name can be put.

        Raises:
            ApiError: 422 where the name is not one; 409 where one differs from it in case only, or there are too many.
        """
        if not re.fullmatch(NAME, name):
            rule = "1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit"
            raise ApiError(422, f"the name of a label set is {rule}, not {name[:80]!r}", "name")
        sets = self._sets()
        if name in sets:
            return
        if alike := next((known for known in sets if known.lower() == name.lower()), None):
            raise ApiError(409, f"there is a label set {alike!r} already; names must differ in more than case", "name")
        if len(sets) >= self._most:
            raise ApiError(409, f"{len(sets)} label sets are kept, which is the most; delete one first", "name")

    def put(self, name: str, spec: LabelSetSpec) -> bool:
        """Keep a label set, in place of one of that name.

        Returns:
            Whether it is a new one.

        Raises:
            ApiError: as `check_name`; 503 where it cannot be written.
        """
        self.check_name(name)  # before anything is made for it
        with self._changing() as files:
            self.check_name(name)
            created = name not in self._sets()
            if files:
                files.write(name, spec)
            else:
                self._in_memory = {**self._in_memory, name: spec}
            self._sets()  # it is read here, and not in the event loop
            return created

    def delete(self, name: str) -> None:
        """Forget a label set.

        Raises:
            ApiError: 404 where there is none of that name; 503 where its file cannot be removed.
        """
        self.get(name)
        with self._changing() as files:
            self.get(name)
            if files:
                files.remove(name)
            else:
                self._in_memory = {known: spec for known, spec in self._in_memory.items() if known != name}

    def _sets(self) -> Mapping[str, LabelSetSpec]:
        return self._files.sets() if self._files else self._in_memory

    @contextmanager
    def _changing(self) -> Iterator[LabelSetFiles | None]:
        """One at a time."""
        try:
            with self._writing:
                if self._files is None:
                    yield None
                    return
                with self._files.writing():
                    yield self._files
        except OSError as error:
            log.error("label sets cannot be written: %s", error)
            raise ApiError(503, f"label sets cannot be written here: {error.strerror}") from error


def _unknown(name: str, names: list[str]) -> ApiError:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    there = f"there are {', '.join(names[:SHOWN])}{more}" if names else "none is kept"
    return ApiError(404, f"no label set {name[:80]!r}; {there}", "name")
