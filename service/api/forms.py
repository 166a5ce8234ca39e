"""A multipart form: files of images, and the same fields as JSON has, as text."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.api.amounts import check_json
from service.api.refused_input import SHOWN
from service.api.schemas import MAX_TEMPLATES
from service.errors import ApiError
from service.settings import Settings

IMAGES = ("image", "images")
LISTS = ("labels", "templates")  # repeated, or one JSON list
OBJECTS = ("thresholds",)  # JSON
FLAGS = ("open_set", "multi_label")


async def read_form(
    request: Request, kind: type[BaseModel], settings: Settings
) -> tuple[list[tuple[str, bytes]], dict[str, Any]]:
    """Read a form.

    Args:
        request: with one.
        kind: whose fields it has.
        settings: the limits.

    Returns:
        Field and content of each file, in order; and the other fields, scalars still as text.

    Raises:
        ApiError: 400 where JSON in a field cannot be read, 422 where a field cannot be what it is.
    """
    fields = settings.max_labels + MAX_TEMPLATES + len(kind.model_fields)
    try:
        async with request.form(
            max_files=settings.max_images, max_fields=fields, max_part_size=settings.max_body_bytes
        ) as form:
            files = [(field, await _file(part, field)) for field in IMAGES for part in form.getlist(field)]
            return files, {name: _value(form, name, settings) for name in form if name not in IMAGES}
    except HTTPException as error:  # of the form's parser
        raise ApiError(
            413 if error.detail.startswith("Too many") else 400, error.detail[0].lower() + error.detail[1:]
        ) from error


async def _file(part: UploadFile | str, field: str) -> bytes:
    if not isinstance(part, UploadFile):
        raise ApiError(422, "must be a file (curl -F image=@FILE); nothing is fetched from an address", field)
    return await part.read()


def _value(form: FormData, name: str, settings: Settings) -> Any:
    parts = [part if isinstance(part, str) else _refuse_file(name) for part in form.getlist(name)]
    if name in LISTS:
        return _list(parts, name, settings)
    if len(parts) > 1:
        raise ApiError(422, f"given {len(parts)} times; once is enough", name[:100])
    if name in FLAGS and parts[0].lower() not in ("true", "false"):
        raise ApiError(422, f"must be true or false, not {parts[0][:SHOWN]!r}", name)
    return _json(parts[0], name, '{"cat": 0.9}', settings) if name in OBJECTS else parts[0]


def _refuse_file(name: str) -> str:
    raise ApiError(422, "must be text, not a file", name[:100])


def _list(parts: list[str], name: str, settings: Settings) -> Any:
    """One field with a JSON list, or a field each."""
    if len(parts) > 1 or not parts[0].lstrip().startswith("["):
        return parts
    return _json(parts[0], name, '["cat", "dog"], or a field each', settings)


def _json(text: str, name: str, example: str, settings: Settings) -> Any:
    check_json(text, settings, name)
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"must be JSON such as {example}", name) from error
