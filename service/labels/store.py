"""Label sets that callers keep by name: one JSON file each, written whole, read at start."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from candor.clip.templates import check_names
from candor.errors import InvalidInput
from candor.files import write_whole
from service.errors import ApiError

log = logging.getLogger("candor.service")

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
ENDING = ".json"
SHOWN = 10  # names in a message
MOST_SETS = 100

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class LabelSetSpec(BaseModel):
    """A label set as it is kept.

    Attributes:
        labels: to choose from, no two that read the same.
        templates: of the caller's own, averaged; None for the tuned prompt.
        threshold: score from which on a label is accepted.
        thresholds: the same for single labels, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: tuple[str, ...] = Field(min_length=1)
    templates: tuple[str, ...] | None = Field(None, min_length=1)
    threshold: Share | None = None
    thresholds: dict[str, Share] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> LabelSetSpec:
        try:
            check_names(self.labels)
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        return self


class LabelSetStore:
    """Label sets by name. Safe from several threads.

    Args:
        directory: of their files; made with the first one. None keeps them in memory.
        most: how many are kept.

    Raises:
        InvalidInput: the directory cannot be read.
    """

    def __init__(self, directory: Path | None, most: int = MOST_SETS) -> None:
        self._directory, self._most = directory, most
        self._writing = threading.Lock()
        self._sets = dict(_read(directory)) if directory else {}  # replaced, never changed: readers need no lock

    def names(self) -> list[str]:
        """Of all label sets, sorted."""
        return sorted(self._sets)

    def get(self, name: str) -> LabelSetSpec:
        """A label set.

        Raises:
            ApiError: 404 where there is none of that name.
        """
        try:
            return self._sets[name]
        except KeyError:
            raise self._unknown(name) from None

    def check_name(self, name: str) -> None:
        """See that a label set of that name can be put.

        Raises:
            ApiError: 422 where the name is not one; 409 where one differs from it in case only, or there are too many.
        """
        if not re.fullmatch(NAME, name):
            rule = "1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit"
            raise ApiError(422, f"the name of a label set is {rule}, not {name[:80]!r}", "name")
        if name in self._sets:
            return
        if alike := next((known for known in self._sets if known.lower() == name.lower()), None):
            raise ApiError(409, f"there is a label set {alike!r} already; names must differ in more than case", "name")
        if len(self._sets) >= self._most:
            raise ApiError(409, f"{len(self._sets)} label sets are kept, which is the most; delete one first", "name")

    def put(self, name: str, spec: LabelSetSpec) -> bool:
        """Keep a label set, in place of one of that name.

        Returns:
            Whether it is a new one.

        Raises:
            ApiError: as `check_name`; 503 where it cannot be written.
        """
        with self._writing:
            self.check_name(name)
            created = name not in self._sets
            if self._directory:
                path = self._directory / f"{name}{ENDING}"
                try:
                    if created and path.exists():  # it was damaged; somebody may want to look at it
                        path.replace(path.with_name(f"{path.name}.damaged"))
                    write_whole(path, spec.model_dump_json(exclude_none=True), mode=0o600)
                except OSError as error:
                    raise _unwritten(error) from error
            self._sets = {**self._sets, name: spec}
            return created

    def delete(self, name: str) -> None:
        """Forget a label set.

        Raises:
            ApiError: 404 where there is none of that name; 503 where its file cannot be removed.
        """
        with self._writing:
            if name not in self._sets:
                raise self._unknown(name)
            if self._directory:
                try:
                    (self._directory / f"{name}{ENDING}").unlink(missing_ok=True)
                except OSError as error:
                    raise _unwritten(error) from error
            self._sets = {known: spec for known, spec in self._sets.items() if known != name}

    def _unknown(self, name: str) -> ApiError:
        names = self.names()
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        there = f"there are {', '.join(names[:SHOWN])}{more}" if names else "none is kept"
        return ApiError(404, f"no label set {name[:80]!r}; {there}", "name")


def _read(directory: Path) -> Iterable[tuple[str, LabelSetSpec]]:
    """What a directory keeps; a file that is damaged stays where it is, and the log names it."""
    try:
        paths = sorted(directory.iterdir()) if directory.exists() else []
    except OSError as error:
        raise InvalidInput(f"CANDOR_STATE: {directory} cannot be read: {error.strerror}") from error
    for path in paths:
        if path.suffix != ENDING or not re.fullmatch(NAME, path.stem) or not path.is_file():
            continue
        try:
            yield path.stem, LabelSetSpec.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            log.warning("the label set in %s is left out: its file is damaged (%s)", path, type(error).__name__)


def _unwritten(error: OSError) -> ApiError:
    log.error("label sets cannot be written: %s", error)
    return ApiError(503, f"label sets cannot be written here: {error.strerror}")
