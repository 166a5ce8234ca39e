"""The OpenAPI document: whole, truthful, and nothing in it that leads nowhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from service.api.document import allowed_methods
from service.app import create_app
from service.guard.access import DOCS
from service.settings import Settings

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Document:
    return create_app(Settings(max_labels=17, max_images=5)).openapi()


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def schema_of(document: Document, name: str) -> Draft202012Validator:
    """A component as a validator, the others within reach."""
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})


def test_every_route_is_there_with_bentomls_own(document: Document) -> None:
    routes = {(path, method) for path, method, _ in operations(document)}
    assert {
        ("/v1/classify", "post"),
        ("/v1/lookup", "post"),
        ("/v1/feedback", "post"),
        ("/v1/hf", "post"),
        ("/v1/label_sets", "get"),
        ("/v1/label_sets/{name}", "put"),
        ("/v1/label_sets/{name}", "get"),
        ("/v1/label_sets/{name}", "delete"),
        ("/v1/artifacts", "get"),
        ("/v1/artifacts/{tag}/activate", "post"),
        ("/v1/calibration", "get"),
        ("/classify_batch", "post"),
        ("/metrics", "get"),
        ("/livez", "get"),
        ("/healthz", "get"),
        ("/readyz", "get"),
    } == routes
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))


def test_every_reference_leads_to_a_component_and_every_component_is_used(document: Document) -> None:
    text = json.dumps(document)
    referred = set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', text))
    assert len(re.findall(r'"\$ref"', text)) == len(re.findall(r'"\$ref": "#/components/schemas/\w+"', text))
    assert "$defs" not in text
    assert referred == set(document["components"]["schemas"])


def test_every_error_is_the_envelope_and_a_refusal_that_passes_says_when(document: Document) -> None:
    for path, method, operation in operations(document):
        errors = {status: response for status, response in operation["responses"].items() if status >= "400"}
        expected = {"503"} if path in ("/livez", "/healthz", "/readyz") else {"401", "403", "429", "503"}
        expected |= {"400", "408", "413"} if "requestBody" in operation else set()
        assert expected <= set(errors), (path, method)
        for status, response in errors.items():
            reference = {"$ref": "#/components/schemas/ErrorEnvelope"}
            assert response["content"] == {"application/json": {"schema": reference}}, (path, method, status)
            assert ("Retry-After" in response.get("headers", {})) == (status in ("429", "503"))


def test_keys_are_asked_for_only_where_there_are_keys(document: Document) -> None:
    assert "securitySchemes" not in document["components"]
    assert "security" not in document
    kept = create_app(Settings(keys=Path("keys.json"))).openapi()
    schemes = kept["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert (schemes["key"]["in"], schemes["key"]["name"]) == ("header", "X-API-Key")
    assert kept["security"] == [{"bearer": []}, {"key": []}]  # one of the two
    free = {path for path, _, operation in operations(kept) if operation.get("security") == []}
    assert free == {"/livez", "/healthz", "/readyz"}
    assert DOCS.isdisjoint(kept["paths"])  # else they must be free too


def test_limits_are_those_of_the_settings(document: Document) -> None:
    schemas = document["components"]["schemas"]
    form, sent = schemas["ClassifyForm"]["properties"], schemas["ClassifyRequest"]["properties"]
    assert (form["image"]["maxItems"], form["labels"]["maxItems"]) == (5, 17)
    lists = {name: [choice for choice in sent[name]["anyOf"] if choice["type"] == "array"] for name in ("images", "labels")}
    assert schemas["BatchRequest"]["properties"]["items"]["maxItems"] == 5
    assert [(choice["maxItems"],) for name in ("images", "labels") for choice in lists[name]] == [(5,), (17,)]


GOOD = {"image": "iVBO", "labels": ["cat"]}


@pytest.mark.parametrize(
    ("body", "valid"),
    [
        (GOOD, True),
        ({"images": ["iVBO", "iVBO"], "labels": ["cat"]}, True),
        ({"image": None, "images": ["iVBO"], "labels": ["cat"]}, True),
        ({"image": "iVBO", "label_set": "shop"}, True),
        (GOOD | {"template": "a {}.", "templates": None}, True),
        ({"labels": ["cat"]}, False),
        ({"image": None, "labels": ["cat"]}, False),
        (GOOD | {"images": ["iVBO"]}, False),
        ({"image": "iVBO"}, False),
        (GOOD | {"label_set": "shop"}, False),
        (GOOD | {"labels": ["cat", "cat"]}, False),
        (GOOD | {"labels": ["cat", " _"]}, False),
        (GOOD | {"labels": []}, False),
        (GOOD | {"template": "a photo"}, False),
        (GOOD | {"template": "a {}.", "templates": ["the {}."]}, False),
        (GOOD | {"top_k": 0}, False),
        (GOOD | {"threshold": 1.5}, False),
        (GOOD | {"surprise": 1}, False),
    ],
)
def test_the_schema_of_classify_draws_the_line_where_the_service_does(
    document: Document, body: Document, valid: bool
) -> None:
    assert schema_of(document, "ClassifyRequest").is_valid(body) is valid


def test_an_item_of_a_batch_has_one_image(document: Document) -> None:
    item = schema_of(document, "ClassifyItem")
    assert item.is_valid(GOOD)
    assert not item.is_valid({"images": ["iVBO"], "labels": ["cat"]})
    assert not item.is_valid(GOOD | {"image": None})


def test_examples_fit_their_schemas(document: Document) -> None:
    schemas = document["components"]["schemas"]
    with_example = [name for name, schema in schemas.items() if "example" in schema]
    assert {"ClassifyRequest", "LookupRequest", "HuggingFaceRequest"} <= set(with_example)
    for name in with_example:
        schema_of(document, name).validate(schemas[name]["example"])


def test_the_methods_of_a_path(document: Document) -> None:
    assert allowed_methods(document, "/v1/classify") == ["POST"]
    assert allowed_methods(document, "/v1/label_sets/any name") == ["DELETE", "GET", "PUT"]
    assert allowed_methods(document, "/v1/nothing") == allowed_methods(document, "/v1/classify/x") == []
