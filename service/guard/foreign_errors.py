"""Errors in other shapes than ours: BentoML has five, Starlette answers in plain text, FastAPI has one of its own."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from service.errors import ApiError

MAX_LENGTH = 500  # of a message
NO_ROUTE = "there is no such route; see /v1/docs"


def code_of(body: bytes) -> str | None:
    """The error code of a body that is our envelope; None of any other body."""
    document = _read(body)
    error = document.get("error") if isinstance(document, dict) else None
    ours = isinstance(error, dict) and error.keys() == {"code", "message", "field"}
    return str(error["code"]) if isinstance(error, dict) and ours else None


def translated(status: int, body: bytes) -> ApiError:
    """What an answer of an error says.

    Args:
        status: of the answer.
        body: of the answer, perhaps cut off.
    """
    document = _read(body)
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    message, field = _said(document)
    if status == 404 and message == HTTPStatus.NOT_FOUND.phrase:
        message = NO_ROUTE
    return ApiError(status, (message.strip() or _phrase(status))[:MAX_LENGTH], field)


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


def _said(document: Any) -> tuple[str, str | None]:
    """The message and the field of a document, whatever its shape."""
    if isinstance(document, str):
        return document, None
    if not isinstance(document, dict):
        return "", None
    error, detail = document.get("error"), document.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):  # pydantic's
        where = ".".join(str(part) for part in detail[0].get("loc", ()))
        return str(detail[0].get("msg", "")), where or None
    return str(error or detail or ""), None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower()
    except ValueError:
        return "refused"
