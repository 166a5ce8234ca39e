"""The keys that receipts are signed with: a file that all workers and replicas of a service share."""

from __future__ import annotations

import logging
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from candor.errors import InvalidInput
from candor.files import write_new
from service.secret_text import checked
from service.watched_file import WatchedFile

log = logging.getLogger("candor.keys")

KEY_BYTES = 32
OWNER_ONLY = 0o600
MAKE = "candor keys rotate-receipts --file"


def _now() -> datetime:
    return datetime.now(UTC)


def _new_secret() -> str:
    return urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


class ReceiptKey(BaseModel):
    """A key as it is kept.

    Attributes:
        secret: 256 random bits in URL-safe base64.
        created: when it was made.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    secret: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}=$", repr=False)] = Field(default_factory=_new_secret)
    created: AwareDatetime = Field(default_factory=_now)

    @property
    def secret_bytes(self) -> bytes:
        """The key itself."""
        return urlsafe_b64decode(self.secret)


class ReceiptKeySet(BaseModel):
    """What a file of receipt keys holds. The last key signs, every one verifies."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    format: Literal[1] = 1
    keys: tuple[ReceiptKey, ...] = Field(min_length=1)

    def rotated(self, lifetime: timedelta, most: int | None = None, now: Callable[[], datetime] = _now) -> ReceiptKeySet:
        """With a new key that signs from now on, and without those whose receipts have all expired.

        Args:
            lifetime: of a receipt. A key's last receipt is as old as the key that came after it.
            most: keys to keep at most, the new one among them; receipts of the others are refused from now on.
            now: tells the time.
        """
        keys = (*self.keys, ReceiptKey(created=now()))
        needed = [key for key, next_ in pairwise(keys) if next_.created + lifetime >= keys[-1].created]
        return ReceiptKeySet(keys=tuple([*needed, keys[-1]][-(most or len(keys)) :]))


class ReceiptKeys:
    """The keys of a file, as it stands now: rotated without a restart. A damaged file keeps the last good ones.

    Args:
        path: of the file.

    Raises:
        InvalidInput: it cannot be read, is damaged or holds no key.
    """

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, "receipt keys", _secrets, log)

    def current(self) -> tuple[bytes, ...]:
        """The keys now, the oldest first. Costs one `stat` while the file stays the same."""
        return self._file.current()


def open_receipt_keys(path: Path, *, make: bool) -> ReceiptKeys:
    """The keys of a file.

    Args:
        path: of the file.
        make: make it where it is missing. Of several processes that do so at once, one does, and all read what it made.

    Raises:
        InvalidInput: it cannot be made or read, or is damaged.
    """
    try:
        if not path.exists():
            if not make:
                raise InvalidInput(f"there is no file of receipt keys {path}; make one: {MAKE} {path}")
            write_new(path, write_receipt_keys(ReceiptKeySet(keys=(ReceiptKey(),))), OWNER_ONLY)
    except OSError as error:
        raise InvalidInput(f"cannot make the receipt keys {path}: {error.strerror}") from error
    return ReceiptKeys(path)


def read_receipt_keys(text: str) -> ReceiptKeySet:
    """The keys of a file's text.

    Raises:
        InvalidInput: it is damaged; the message holds nothing of it.
    """
    return checked(ReceiptKeySet, text, "a file of receipt keys")


def write_receipt_keys(keys: ReceiptKeySet) -> str:
    """The text of a file of receipt keys."""
    return keys.model_dump_json(indent=2) + "\n"


def _secrets(text: str) -> tuple[bytes, ...]:
    return tuple(key.secret_bytes for key in read_receipt_keys(text).keys)
