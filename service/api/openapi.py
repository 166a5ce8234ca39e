"""What routes bring to the OpenAPI document: their errors, and bodies that `service.api.requests` reads itself."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from service.api.schemas import ErrorEnvelope, ImageRequest

Responses = dict[int | str, dict[str, Any]]
Schema = dict[str, Any]

COMPONENTS = "#/components/schemas/{model}"

_FILES: Schema = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "string", "format": "binary"},
    "description": "an image file; repeat the field for several",
}
_ONE_OR_SEVERAL: list[Schema] = [
    {"required": ["image"], "properties": {"image": {"type": "string"}, "images": {"type": "null"}}},
    {"required": ["images"], "properties": {"image": {"type": "null"}, "images": {"type": "array"}}},
]


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
    schema = kind.model_json_schema(ref_template=COMPONENTS)
    form = _form(schema)
    objects = [name for name, field in form["properties"].items() if field.get("type") == "object"]
    encoding = {"encoding": {name: {"contentType": "application/json"} for name in objects}} if objects else {}
    content = {
        "application/json": {"schema": schema | {"oneOf": _ONE_OR_SEVERAL}},
        "multipart/form-data": {"schema": form, **encoding},
    }
    return {"requestBody": {"required": True, "content": content}}


def json_body(kind: type[BaseModel]) -> dict[str, Any]:
    """What a route accepts that takes JSON alone: `openapi_extra` of it."""
    schema = kind.model_json_schema(ref_template=COMPONENTS)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def item_schema(kind: type[ImageRequest]) -> Schema:
    """A request with exactly one image, as JSON."""
    schema = kind.model_json_schema(ref_template=COMPONENTS)
    fields = {name: field for name, field in schema["properties"].items() if name != "images"}
    fields["image"] = _sent(fields["image"])
    required = ["image", *schema.get("required", [])]
    return schema | {"title": kind.__name__.replace("Request", "Item"), "properties": fields, "required": required}


def _form(schema: Schema) -> Schema:
    """The same fields as a form has them: files instead of base64, a field an entry of a list, nothing that is null."""
    fields = {name: _sent(field) for name, field in schema["properties"].items() if name != "images"}
    for name, field in fields.items():
        if field.get("type") == "array":
            fields[name] = field | {"description": f"{field['description']}; a field each, or one field with a JSON list"}
        elif field.get("type") == "object":
            fields[name] = field | {"description": f"{field['description']}; as JSON"}
    required = ["image", *schema.get("required", [])]
    return {
        **_by_presence(schema.get("allOf", [])),
        "title": schema["title"].replace("Request", "Form"),
        "type": "object",
        "properties": fields | {"image": _FILES},
        "required": required,
        "additionalProperties": False,
    }


def _by_presence(rules: list[Schema]) -> Schema:
    """Rules about fields that may be null, for a form: there nothing is null, and whether a field is there says it all.

    Args:
        rules: `oneOf` two fields, and `not` two fields together.
    """
    found: Schema = {}
    for rule in rules:
        if "oneOf" in rule:
            one, other = ([*choice["properties"]] for choice in rule["oneOf"])
            found["oneOf"] = [{"required": fields[:1], "properties": {fields[1]: False}} for fields in (one, other)]
        if "not" in rule:
            first, second = rule["not"]["required"]
            found["dependentSchemas"] = {first: {"properties": {second: False}}}
    return found


def _sent(field: Schema) -> Schema:
    """A field without its null: what stands there when it is sent at all."""
    choices: list[Schema] = [choice for choice in field.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) != 1:
        return field
    return choices[0] | {key: value for key, value in field.items() if key not in ("anyOf", "default")}
