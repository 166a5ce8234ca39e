"""The one OpenAPI document: FastAPI's routes and BentoML's, with every error that the service gives."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

from fastapi import FastAPI
from starlette.routing import compile_path

from service.api.native_routes import NATIVE_PATHS, NATIVE_SCHEMAS
from service.api.openapi import COMPONENTS, Schema
from service.errors import CODES
from service.settings import Settings

LABELS, IMAGES = ("labels", "candidate_labels"), ("image", "images", "items")  # fields with as many as the settings allow
METHODS = ("get", "put", "post", "delete", "patch")
OPEN_PATHS = ("/livez", "/healthz", "/readyz")  # asked by whoever runs the service, which has no key
EVERYWHERE = {
    401: "No key, or one that is not known",
    403: "Not allowed with this key, or from this address",
    429: "Too many requests with this key; see Retry-After",
    503: "Loading, draining or overloaded; see Retry-After",
}
WITH_BODY = {
    400: "The body cannot be read",
    408: "The body did not arrive in time",
    413: "Too large, or too many",
}
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds to wait before trying again"}}


def describe(app: FastAPI, settings: Settings) -> None:
    """Make the application's document that of the whole service.

    Args:
        app: with all its routes.
        settings: whose limits the document names.
    """

    @cache
    def whole() -> Schema:
        return _document(deepcopy(FastAPI.openapi(app)), settings)

    app.openapi = whole  # type: ignore[method-assign]


def allowed_methods(document: Schema, path: str) -> list[str]:
    """The methods that the document has for a path; none where it does not know the path."""
    found = {
        method.upper()
        for template, operations in document["paths"].items()
        if compile_path(template)[0].match(path)
        for method in operations
        if method in METHODS
    }
    return sorted(found)


def _document(document: Schema, settings: Settings) -> Schema:
    document["paths"] |= deepcopy(NATIVE_PATHS)
    schemas = document["components"]["schemas"]
    schemas |= deepcopy(NATIVE_SCHEMAS)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _hoist(operation, schemas)
            _add_errors(operation, path)
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own errors, which it never answers with here
        schemas.pop(unused, None)
    for schema in schemas.values():
        _limit(schema, settings)
    if settings.keys is not None:
        document["components"]["securitySchemes"] = deepcopy(SCHEMES)
        document["security"] = [{name: []} for name in SCHEMES]
        for path in OPEN_PATHS:
            for operation in document["paths"].get(path, {}).values():
                operation["security"] = []
    return document


def _hoist(operation: Schema, schemas: dict[str, Schema]) -> None:
    """Move the schemas of an operation's body to the components, and refer to them there."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        schemas |= schema.pop("$defs", {})
        if "title" in schema and "properties" in schema:
            schemas[schema["title"]] = schema
            content["schema"] = {"$ref": COMPONENTS.format(model=schema["title"])}


def _add_errors(operation: Schema, path: str) -> None:
    responses = operation["responses"]
    possible = EVERYWHERE if path not in OPEN_PATHS else {503: "Not ready"}
    if "requestBody" in operation:
        possible = possible | WITH_BODY
    if "422" in responses:
        possible = possible | {422: responses["422"]["description"]}
    for status, description in possible.items():
        responses.setdefault(str(status), {"description": description})
    for status, response in responses.items():
        if not status.isdigit() or int(status) not in CODES:
            continue
        reference = {"$ref": COMPONENTS.format(model="ErrorEnvelope")}
        response["content"] = {"application/json": {"schema": reference}}
        if status in ("429", "503"):
            response["headers"] = deepcopy(_RETRY_AFTER)
    operation["responses"] = dict(sorted(responses.items()))


def _limit(schema: Schema, settings: Settings) -> None:
    """Write the settings' limits into a schema of a request."""
    fields: dict[str, Schema] = schema.get("properties", {})
    for names, most in ((LABELS, settings.max_labels), (IMAGES, settings.max_images)):
        for name in names:
            for field in (fields.get(name, {}), *fields.get(name, {}).get("anyOf", ())):
                if field.get("type") == "array":
                    field["maxItems"] = most
                    if names is LABELS and field["items"].get("type") == "string":
                        field["items"]["maxLength"] = settings.max_label_length
