"""The bodies of requests in the OpenAPI document: FastAPI cannot see them, since `service.requests` reads them itself."""

from __future__ import annotations

from typing import Any

from service.schemas import ImageRequest

_IMAGE = {"type": "string", "format": "binary", "description": "an image file; repeat the field for several"}
_LABELS = {"type": "string", "description": "a JSON list of labels; or repeat the field, once a label"}


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
