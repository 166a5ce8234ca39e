"""Who counts: a random name that stays with the state directory."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from candor.errors import InvalidInput
from candor.files import write_new

FILE = "replica"
NAME_BYTES = 8


def replica_id(state: Path) -> str:
    """The replica's name, from its file; made with the first call, of whichever process comes first.

    Args:
        state: the state directory.

    Raises:
        InvalidInput: the directory cannot be written, or the file holds something else.
    """
    path = state / FILE
    try:
        if not path.exists():
            write_new(path, secrets.token_hex(NAME_BYTES))
        name = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise InvalidInput(f"CANDOR_STATE: {path} cannot be used: {error.strerror}") from error
    if not re.fullmatch(rf"[0-9a-f]{{{2 * NAME_BYTES}}}", name):
        raise InvalidInput(f"CANDOR_STATE: {path} holds no name of a replica; remove it, and a new one is made")
    return name
