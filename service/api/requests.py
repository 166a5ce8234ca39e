"""Reading a request with images: JSON or multipart, bounded while it is read."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.schemas import ClassifyRequest, ImageRequest
from service.errors import ApiError
from service.settings import Settings

Options = TypeVar("Options", bound=ImageRequest)


@dataclass(frozen=True)
class ParsedRequest(Generic[Options]):
    """A request with its images as file bytes, in order.

    Attributes:
        images: (field name for errors, bytes) of each.
        options: everything but the images.
    """

    images: list[tuple[str, bytes]]
    options: Options


class BodyLimit:
    """Refuse a body that is too large: by its announced length at once, otherwise while it is read.

    Args:
        app: what is protected.
        max_bytes: of one body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a counting `receive`."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            announced = dict(scope.get("headers", [])).get(b"content-length", b"0")
            if seen > self._max or (announced.isdigit() and int(announced) > self._max):
                raise ApiError(413, f"the request is larger than the {self._max} bytes allowed")
            return message

        await self._app(scope, counted if scope["type"] == "http" else receive, send)


async def parse(request: Request, kind: type[Options], settings: Settings) -> ParsedRequest[Options]:
    """Read and check a request.

    Args:
        request: of a route that takes images.
        kind: what its body must be.
        settings: the limits.

    Raises:
        ApiError: 400 where it cannot be read, 422 where it is impossible, 413 where it is too large.
    """
    content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content == "application/json":
        parsed = _from_json(await request.body(), kind)
    elif content == "multipart/form-data":
        parsed = await _from_form(request, kind, settings)
    else:
        raise ApiError(400, f"send application/json or multipart/form-data, not {content or 'no content type'!r}")
    if not parsed.images:
        raise ApiError(422, "no image given; send 'image' or 'images'", "image")
    _check_number(len(parsed.images), settings.max_images, "images")
    if isinstance(parsed.options, ClassifyRequest):
        _check_number(len(parsed.options.labels), settings.max_labels, "labels")
    return parsed


def _check_number(given: int, most: int, field: str) -> None:
    if given > most:
        raise ApiError(413, f"{given} {field} given; at most {most} are allowed", field)


def _from_json(body: bytes, kind: type[Options]) -> ParsedRequest[Options]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "the body is not JSON") from error
    options = _validated(document, kind)
    if options.image is not None and options.images is not None:
        raise ApiError(422, "give either 'image' or 'images', not both", "images")
    named = [("image", options.image)] if options.image is not None else []
    named += [(f"images.{i}", data) for i, data in enumerate(options.images or [])]
    return ParsedRequest([(field, _base64(field, data)) for field, data in named], options)


def _base64(field: str, data: str) -> bytes:
    if data.startswith("data:"):
        data = data.partition(",")[2]
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(422, "not base64", field) from error


async def _from_form(request: Request, kind: type[Options], settings: Settings) -> ParsedRequest[Options]:
    async with request.form(max_files=settings.max_images + 1, max_fields=settings.max_labels + 10) as form:
        images = []
        for field in ("image", "images"):
            for part in form.getlist(field):
                if not isinstance(part, UploadFile):
                    raise ApiError(422, "must be a file (curl -F image=@FILE); nothing is fetched from an address", field)
                images.append((field, await part.read()))
        values: dict[str, Any] = {key: form[key] for key in form if key not in ("image", "images", "labels")}
        labels = form.getlist("labels")
    if labels:
        values["labels"] = _form_labels(labels)
    return ParsedRequest(images, _validated(values, kind))


def _form_labels(parts: list[Any]) -> list[Any]:
    """Labels of a form: one field with a JSON list, or a field a label."""
    if len(parts) > 1 or not str(parts[0]).lstrip().startswith("["):
        return parts
    try:
        labels = json.loads(parts[0])
    except (ValueError, RecursionError) as error:
        raise ApiError(400, 'must be a JSON list such as ["cat", "dog"], or a field a label', "labels") from error
    return list(labels)


def _validated(document: Any, kind: type[Options]) -> Options:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        raise ApiError(422, f"{first['msg'][0].lower()}{first['msg'][1:]}", field) from error
