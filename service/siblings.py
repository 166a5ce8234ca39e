"""What the workers of one server tell each other, through a directory that the server has for as long as it runs."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from candor.files import write_whole

VARIABLE = "_CANDOR_SERVER"  # from the parent process to its workers; no setting
ACTIVE = "active"
PRESENT = "present"

Stamp = tuple[int, int, int]  # a file's modification time, size and inode


def open_shared_directory() -> None:
    """Make the directory, for the workers that this process is about to start. It goes when this process ends."""
    path = tempfile.mkdtemp(prefix="candor-server-")
    os.environ[VARIABLE] = path
    atexit.register(shutil.rmtree, path, ignore_errors=True)


class Siblings:
    """The workers of one server, as one of them sees them.

    Args:
        directory: of the server; None where this process is alone.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._stamp: Stamp | None = None
        self._active: str | None = None
        self._presence: int | None = None

    @classmethod
    def of_this_server(cls) -> Siblings:
        """Those that the parent process has started beside this one; none where nothing has called for them."""
        path = os.environ.get(VARIABLE)
        return cls(Path(path) if path else None)

    def tell_active(self, tag: str) -> None:
        """Tell all which artifact is to answer; the last word counts.

        Raises:
            OSError: the directory cannot be written.
        """
        if self._directory:
            write_whole(self._directory / ACTIVE, tag)

    def active(self) -> str | None:
        """The tag that was told last; None before anything was. Costs one `stat` while it stays the same."""
        if self._directory is None:
            return None
        path = self._directory / ACTIVE
        try:
            status = path.stat()
            stamp = status.st_mtime_ns, status.st_size, status.st_ino
            if stamp != self._stamp:
                self._active, self._stamp = path.read_text(encoding="utf-8"), stamp
        except OSError:  # nothing was told yet, or the server is ending
            return self._active
        return self._active

    def join(self) -> None:
        """Be one of those that take connections."""
        if self._directory is None or self._presence is not None:
            return
        self._presence = os.open(self._directory / PRESENT, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._presence, fcntl.LOCK_SH)

    def leave(self) -> bool:
        """Be none of them any more.

        Returns:
            Whether this was the last one. Of several that leave at the same time exactly one is.
        """
        if self._presence is None:
            return True
        fcntl.flock(self._presence, fcntl.LOCK_UN)
        try:
            fcntl.flock(self._presence, fcntl.LOCK_EX | fcntl.LOCK_NB)  # kept until the process ends
        except BlockingIOError:
            return False
        return True
