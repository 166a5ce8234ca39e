"""A file of keys that is watched: keys are rotated without a restart."""

from __future__ import annotations

import logging
from pathlib import Path

from candor.errors import InvalidInput
from service.guard.keys import NamedKey, read_keys
from service.watched_file import WatchedFile

log = logging.getLogger("candor.keys")


class KeyFile:
    """The keys of a file, as it stands now.

    A file that has been damaged or removed keeps the last good keys; a sound one without any key lets nobody in.

    Args:
        path: of the file.

    Raises:
        InvalidInput: it cannot be read, is damaged or holds no key.
    """

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, "keys", lambda text: read_keys(text).keys, log)
        if not self._file.current():
            raise InvalidInput(f"{path} holds no key; make one: candor keys add NAME --file {path}")

    def current(self) -> tuple[NamedKey, ...]:
        """The keys now. Costs one `stat` while the file stays the same."""
        return self._file.current()
