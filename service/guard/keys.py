"""API keys: how they are made, kept and recognised.

What is kept is the SHA-256 of a key. A slow, salted hash (bcrypt, argon2) makes the guessing of passwords dear; these keys
are 256 bits of the system's randomness and cannot be guessed at any price; a slow hash would cost every request its time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from service.guard.access import Role
from service.secret_text import checked

PREFIX = "candor_"  # lets secret scanners find one that got out
KEY_BYTES = 32
MAX_KEY_LENGTH = 200  # of what is presented; longer is not one of ours and is not hashed


class NamedKey(BaseModel):
    """A key as it is kept.

    Attributes:
        name: in logs and limits.
        role: what it may do, see `service.guard.access`.
        sha256: of the key, hexadecimal.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    role: Role
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class KeySet(BaseModel):
    """What a file of keys holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    keys: tuple[NamedKey, ...]

    @field_validator("keys")
    @classmethod
    def _once(cls, keys: tuple[NamedKey, ...]) -> tuple[NamedKey, ...]:
        for what in ("name", "sha256"):
            if len({getattr(key, what) for key in keys}) < len(keys):
                raise ValueError(f"the same {what} stands there twice")
        return keys


def new_key() -> str:
    """A new key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def digest(key: bytes) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key).hexdigest()


def read_keys(text: str) -> KeySet:
    """The keys of a file's text.

    Raises:
        InvalidInput: it is damaged; the message holds nothing of it.
    """
    return checked(KeySet, text, "a file of keys")


def write_keys(keys: KeySet) -> str:
    """The text of a file of keys."""
    return keys.model_dump_json(indent=2) + "\n"


def recognise(keys: Sequence[NamedKey], presented: Iterable[bytes]) -> NamedKey | None:
    """The key that a request came with. Takes the same time for every key and every wrong one.

    Args:
        keys: that are known.
        presented: what the request holds, each place where a key may stand.
    """
    found = None
    for candidate in presented:
        if len(candidate) <= MAX_KEY_LENGTH:
            shown = digest(candidate)
            for key in keys:
                if hmac.compare_digest(shown, key.sha256):
                    found = key
    return found
