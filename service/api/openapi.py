"""The bodies of requests in the OpenAPI document, which FastAPI cannot see: `service.api.requests` reads them itself."""

from __future__ import annotations

from typing import Any

from service.api.schemas import ErrorEnvelope, ImageRequest

Responses = dict[int | str, dict[str, Any]]

_IMAGE = {"type": "string", "format": "binary", "description": "an image file; repeat the field for several"}
_LABELS = {"type": "string", "description": "a JSON list of labels; or repeat the field, once a label"}


def error(status: int, description: str) -> Responses:
    """One error of a route, for its `responses`."""
    return {status: {"model": ErrorEnvelope, "description": description}}


IMAGE_ERRORS: Responses = {
    **error(400, "The body cannot be read"),
    **error(413, "Too large, or too many"),
    **error(415, "Not an image that we decode"),
    **error(422, "Well-formed, but impossible"),
    **error(503, "Loading, draining or overloaded; see Retry-After"),
}


def image_body(kind: type[ImageRequest]) -> dict[str, Any]:
    """What a route that takes images accepts: the model as JSON, or a form with the same fields and the image's file.

    Args:
        kind: of the request.

    Returns:
        `openapi_extra` of the route.
    """
    schema = kind.model_json_schema()
    fields = {name: field for name, field in schema["properties"].items() if name != "images"} | {"image": _IMAGE}
    if "labels" in fields:
        fields["labels"] = _LABELS
    form = {"type": "object", "required": ["image", *schema.get("required", [])], "properties": fields}
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}
