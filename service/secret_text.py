"""Texts that hold secrets, checked: whatever is wrong with one, no message holds any of it."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from candor.errors import InvalidInput

M = TypeVar("M", bound=BaseModel)


def checked(kind: type[M], text: str, what: str) -> M:
    """What a text says.

    Args:
        kind: of what it says.
        text: JSON.
        what: the text is, for the message: "a file of keys".

    Raises:
        InvalidInput: it does not say that; the message has the place and the rule, and nothing of the text.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"not {what}: {where + ': ' if where else ''}{first['msg']}") from None
