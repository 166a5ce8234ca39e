"""Reading a request with images: JSON or multipart, checked before any work is done for it."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from service.api.amounts import check_document, check_json, check_labels, check_number
from service.api.forms import read_form
from service.api.refused_input import refusal
from service.api.schemas import ClassifyRequest, ImageRequest
from service.errors import ApiError
from service.settings import Settings

Options = TypeVar("Options", bound=ImageRequest)
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class SentImage:
    """An image as it came.

    Attributes:
        field: of the request, named in errors.
        data: the file's bytes, or why there are none.
    """

    field: str
    data: bytes | ApiError


@dataclass(frozen=True)
class ParsedRequest(Generic[Options]):
    """A request with its images as file bytes, in order.

    Attributes:
        images: at least one.
        options: everything but the images.
    """

    images: list[SentImage]
    options: Options


async def parse(request: Request, kind: type[Options], settings: Settings) -> ParsedRequest[Options]:
    """Read and check a request.

    Args:
        request: of a route that takes images.
        kind: what its body must be.
        settings: the limits.

    Raises:
        ApiError: 400 where it cannot be read, 422 where it is impossible, 413 where it is too large.
    """
    content = media_type(request)
    if content == "application/json":
        return _with_images(validated_json(await request.body(), kind, settings), settings)
    if content == "multipart/form-data":
        files, values = await read_form(request, kind, settings)
        options = _validated(values, kind)
        _check_limits(len(files), options, settings)
        return ParsedRequest([SentImage(field, data) for field, data in files], options)
    raise ApiError(400, f"send application/json or multipart/form-data, not {content[:100] or 'no content type'!r}")


def from_document(document: Any, kind: type[Options], settings: Settings) -> ParsedRequest[Options]:
    """Check a request that has been read as JSON already.

    Args:
        document: what JSON held; anything.
        kind: what it must be.
        settings: the limits.

    Raises:
        ApiError: 422 where it is impossible, 413 where it is too large.
    """
    check_document(document, settings)
    return _with_images(_validated(document, kind, strict=True), settings)


def media_type(request: Request) -> str:
    """What the request says its body is, without parameters; nothing where it does not say."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def validated_json(body: bytes, kind: type[Model], settings: Settings, most: int | None = None) -> Model:
    """A body as one of our models.

    Args:
        body: JSON, or anything.
        kind: the model.
        settings: the limits.
        most: values that it may hold; None is those of one request.

    Raises:
        ApiError: 400 where it is not JSON, 422 where it is something else, 413 where it has far too many values.
    """
    check_json(body, settings, most=most)
    try:
        return kind.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise refusal(error, kind) from None


def image_bytes(data: str, field: str) -> bytes | ApiError:
    """The file that base64 stands for, or that it does not.

    Args:
        data: base64, white space in it or not, or a data: URL.
        field: named in the error.
    """
    if data.startswith("data:"):
        header, _, data = data.partition(",")
        if not header.endswith(";base64"):
            return ApiError(422, "a data: URL must hold base64 (data:image/png;base64,...)", field)
    elif data.startswith(("http://", "https://")):
        return ApiError(422, "send the image itself as base64; nothing is fetched from an address", field)
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        pass  # line breaks, perhaps, as many encoders make them
    try:
        return binascii.a2b_base64("".join(data.split()), strict_mode=True)
    except ValueError:
        return ApiError(422, "not base64", field)


def _validated(document: Any, kind: type[Model], strict: bool | None = None) -> Model:
    try:
        return kind.model_validate(document, strict=strict)
    except ValidationError as error:
        raise refusal(error, kind) from None


def _with_images(options: Options, settings: Settings) -> ParsedRequest[Options]:
    if options.image is not None and options.images is not None:
        raise ApiError(422, "give either 'image' or 'images', not both", "images")
    named = [("image", options.image)] if options.image is not None else []
    named += [(f"images.{i}", data) for i, data in enumerate(options.images or ())]
    _check_limits(len(named), options, settings)
    return ParsedRequest([SentImage(field, image_bytes(data, field)) for field, data in named], options)


def _check_limits(images: int, options: ImageRequest, settings: Settings) -> None:
    if not images:
        raise ApiError(422, "no image given; send 'image' or 'images'", "image")
    check_number(images, settings.max_images, "images")
    if isinstance(options, ClassifyRequest) and options.labels is not None:
        check_labels(options.labels, settings, "labels")
