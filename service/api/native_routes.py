"""What the OpenAPI document says of the routes that FastAPI does not have: BentoML's."""

from __future__ import annotations

from typing import Any

from service.api.openapi import COMPONENTS, Schema, item_schema
from service.api.schemas import ClassifyRequest, Result


def _text(summary: str, description: str, media_type: str = "text/plain; charset=utf-8") -> Schema:
    content = {media_type: {"schema": {"type": "string"}}}
    responses = {"200": {"description": description, "content": content}}
    name = summary.lower().replace(" ", "_")
    return {"get": {"summary": summary, "operationId": name, "responses": responses}}


def _reference(model: str) -> Schema:
    return {"$ref": COMPONENTS.format(model=model)}


def _native_result() -> Schema:
    schema: Schema = Result.model_json_schema(ref_template=COMPONENTS)
    schema.pop("$defs", None)  # they are components already
    artifact = {"type": "string", "description": "tag of the prompt artifact that answered"}
    required = ["artifact", *schema["required"]]
    properties = {"artifact": artifact, **schema["properties"]}
    return schema | {"title": "BatchResult", "properties": properties, "required": required}


NATIVE_SCHEMAS: dict[str, Schema] = {
    "BatchRequest": {
        "title": "BatchRequest",
        "type": "object",
        "required": ["items"],
        "properties": {"items": {"type": "array", "items": {"anyOf": [_reference("ClassifyItem"), {}]}}},
        "description": "Items; what is no ClassifyItem is refused by itself, in its place of the answer",
    },
    "BatchResult": _native_result(),
    "ClassifyItem": item_schema(ClassifyRequest),
}

_ANSWERS: Schema = {"type": "array", "items": {"anyOf": [_reference("BatchResult"), _reference("ErrorEnvelope")]}}

NATIVE_PATHS: dict[str, dict[str, Any]] = {
    "/livez": _text("Livez", "The process is alive"),
    "/healthz": _text("Healthz", "The process is alive"),
    "/readyz": _text("Readyz", "The model is loaded and warm"),
    "/classify_batch": {
        "post": {
            "summary": "Classify Batch",
            "operationId": "classify_batch",
            "description": "BentoML's native batch, for bentoml.SyncHTTPClient: of each item a result or an error.",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": _reference("BatchRequest")}},
            },
            "responses": {
                "200": {
                    "description": "An answer an item, in their order",
                    "content": {"application/json": {"schema": _ANSWERS}},
                }
            },
        }
    },
}
