"""How much a request may hold, checked before anything is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.api.schemas import MAX_TEMPLATES
from service.errors import ApiError
from service.settings import Settings

SPARE = 8  # times the values that a sensible request has; commas inside of labels look like more values


def check_number(given: int, most: int, field: str) -> None:
    """Refuse more than the settings allow.

    Raises:
        ApiError: 413 about `field`.
    """
    if given > most:
        raise ApiError(413, f"{given} {field} given; at most {most} are allowed", field)


def check_labels(labels: Sequence[str], settings: Settings, field: str) -> None:
    """Refuse more labels than the settings allow, longer ones, and what is no text.

    Raises:
        ApiError: 413 or 422 about `field`.
    """
    check_number(len(labels), settings.max_labels, field)
    most = settings.max_label_length
    if max(map(len, labels), default=0) > most:
        long = next(label for label in labels if len(label) > most)
        raise ApiError(422, f"{long[:40]!r}... has {len(long)} characters; a label has at most {most}", field)
    try:
        "".join(labels).encode()
    except UnicodeEncodeError as error:
        raise ApiError(422, "a label holds half of a surrogate pair, which is no text", field) from error


def check_texts(
    labels: Sequence[str], templates: Sequence[str] | None, settings: Settings, fields: tuple[str, str]
) -> None:
    """Refuse labels that need more texts under their templates than the settings allow to encode.

    Args:
        labels: to encode.
        templates: each label is a text under each of them; None is the tuned prompt alone.
        settings: the limits.
        fields: of labels and of templates.

    Raises:
        ApiError: 413 about the templates, or about the labels where there is one template.
    """
    count = len(templates or "1")
    if (texts := len(labels) * count) > settings.max_texts:
        asked = f"{len(labels)} labels with {count} template{'s' * (count > 1)} are {texts} texts"
        raise ApiError(413, f"{asked}; at most {settings.max_texts} are allowed", fields[count > 1])


def check_json(text: bytes | str, settings: Settings, field: str | None = None, most: int | None = None) -> None:
    """Refuse JSON of far too many values: a body of 20 MB holds ten million wrong ones, and pydantic has an error for each.

    Args:
        text: JSON, or anything.
        settings: the limits.
        field: that it is of; None is the whole body.
        most: values that it may hold; None is those of one request.

    Raises:
        ApiError: 413.
    """
    data = text.encode(errors="replace") if isinstance(text, str) else text
    if data.count(b",") + data.count(b"[") + data.count(b"{") > (most_values(settings) if most is None else most):
        raise _too_many(field)


def check_document(document: Any, settings: Settings) -> None:
    """The same of what was read as JSON by somebody else.

    Raises:
        ApiError: 413.
    """
    if not isinstance(document, (dict, list)):
        return
    parts = document.values() if isinstance(document, dict) else document
    inner = sum(len(part) for part in parts if isinstance(part, (dict, list)))
    if len(document) + inner > most_values(settings):
        raise _too_many(None)


def most_values(settings: Settings) -> int:
    """Values that the JSON of one request may hold."""
    return SPARE * (2 * settings.max_labels + settings.max_images + MAX_TEMPLATES + 100)


def _too_many(field: str | None) -> ApiError:
    return ApiError(413, "too many values; see the limits of images, labels and templates", field)
