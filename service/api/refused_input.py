"""What pydantic says of a request, as an error that names what came and what may come."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from service.errors import ApiError

SHOWN = 60  # characters of a value
LONGEST_FIELD = 100
SILENT = ("image", "images", "inputs")  # fields whose values are images, which no message repeats


def refusal(error: ValidationError, kind: type[BaseModel]) -> ApiError:
    """The first thing that pydantic found.

    Args:
        error: of pydantic.
        kind: the model that did not fit.

    Returns:
        A 400 where the body was no JSON, otherwise a 422.
    """
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is not JSON: {first['ctx']['error']}")
    path = ".".join(str(part) for part in first["loc"])[:LONGEST_FIELD]
    field = path.encode(errors="replace").decode() or None  # half of a surrogate pair could not be answered
    if first["type"] == "extra_forbidden":
        known = kind.model_fields if len(first["loc"]) == 1 else ()
        return ApiError(422, f"no such field{'; there are ' if known else ''}{', '.join(known)}", field)
    return ApiError(422, f"{first['msg'][0].lower()}{first['msg'][1:]}{_given(first)}", field)


def _given(error: ErrorDetails) -> str:
    """What came, as the end of a sentence."""
    value: Any = error["input"]
    if error["type"] == "missing" or (error["loc"] and error["loc"][0] in SILENT):
        return ""
    if isinstance(value, (list, dict)):
        return f", not {'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    text = "null" if value is None else repr(value[:SHOWN] if isinstance(value, str) else value)
    return f", not {text[: SHOWN + 2]}{'...' if isinstance(value, str) and len(value) > SHOWN else ''}"
