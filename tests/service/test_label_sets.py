"""`/v1/label_sets`: what is kept, refused, replaced and forgotten, and what a request takes from it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from fastapi import FastAPI
from jsonschema_rs import Draft202012Validator
from starlette.testclient import TestClient

from service.engine import Engine
from service.labels.store import LabelSetStore

URL = "/v1/label_sets"
SHOP: dict[str, Any] = {"labels": ["cat", "Red_dog"], "templates": ["a {}.", "the {}"], "threshold": 0.5}


def error_of(response: Any) -> tuple[int, str, str | None]:
    error = response.json()["error"]
    assert set(error) == {"code", "message", "field"}
    return response.status_code, error["code"], error["field"]


def test_put_get_list_replace_delete(client: TestClient) -> None:
    kept = SHOP | {"name": "shop", "thresholds": {"red DOG": 0.75}}
    created = client.put(f"{URL}/shop", json=SHOP | {"thresholds": {"red DOG": 0.75}})
    assert (created.status_code, created.json()) == (201, kept)
    assert client.get(f"{URL}/shop").json() == kept
    assert client.put(f"{URL}/a.b-c_D", json={"labels": ["sun"], "template": "{}!"}).json() == {
        "name": "a.b-c_D",
        "labels": ["sun"],
        "templates": ["{}!"],
        "threshold": None,
        "thresholds": None,
    }
    assert client.get(URL).json() == {"label_sets": [{"name": "a.b-c_D", "size": 1}, {"name": "shop", "size": 2}]}
    replaced = client.put(f"{URL}/shop", json={"labels": ["moon"]})
    assert (replaced.status_code, replaced.json()["labels"]) == (200, ["moon"])
    deleted = client.delete(f"{URL}/shop")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert error_of(client.get(f"{URL}/shop")) == (404, "not_found", "name")
    assert error_of(client.delete(f"{URL}/shop")) == (404, "not_found", "name")
    assert "a.b-c_D" in client.get(f"{URL}/shop").json()["error"]["message"]


def test_labels_are_encoded_when_they_are_put(client: TestClient, app: FastAPI) -> None:
    engine = cast(Engine, app.state.engine)
    told: list[tuple[int, int]] = []
    engine.serving.labels.watch(lambda hits, misses: told.append((hits, misses)))
    client.put(f"{URL}/shop", json=SHOP)
    assert told == [(0, 2)]
    client.put(f"{URL}/shop", json=SHOP)
    assert told == [(0, 2), (2, 0)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (422, "invalid", "labels")),
        ({"labels": []}, (422, "invalid", "labels")),
        ({"labels": "cat"}, (422, "invalid", "labels")),
        ({"labels": [1]}, (422, "invalid", "labels.0")),
        ({"labels": ["cat", "_"]}, (422, "invalid", "labels")),
        ({"labels": ["cat", "CAT"]}, (422, "invalid", "labels")),
        ({"labels": ["x " * 100]}, (422, "invalid", "labels")),
        ({"labels": ["x" * 501]}, (422, "invalid", "labels")),
        ({"labels": [f"label {i}" for i in range(51)]}, (413, "too_large", "labels")),
        ({"labels": ["cat"], "template": "no place"}, (422, "invalid", "templates")),
        ({"labels": ["cat"], "templates": []}, (422, "invalid", "templates")),
        ({"labels": ["cat"], "templates": ["{}"] * 101}, (422, "invalid", "templates")),
        ({"labels": ["cat"], "templates": ["{}"], "template": "{}"}, (422, "invalid", "templates")),
        ({"labels": ["cat"], "threshold": 1.5}, (422, "invalid", "threshold")),
        ({"labels": ["cat"], "threshold": "0.5"}, (422, "invalid", "threshold")),
        ({"labels": ["cat"], "thresholds": {"dog": 0.5}}, (422, "invalid", "thresholds")),
        ({"labels": ["cat"], "thresholds": {"cat": -1}}, (422, "invalid", "thresholds.cat")),
        ({"labels": ["cat"], "images": ["x"]}, (422, "invalid", "images")),
        ([], (422, "invalid", None)),
    ],
)
def test_what_is_impossible_is_not_kept(client: TestClient, body: Any, expected: tuple[int, str, str | None]) -> None:
    assert error_of(client.put(f"{URL}/shop", json=body)) == expected
    assert client.get(URL).json() == {"label_sets": []}


@pytest.mark.parametrize("content", [b"", b"{", b'{"labels": ["\\ud800"]}', b"\xff", b"[" * 100])
def test_what_cannot_be_read(client: TestClient, content: bytes) -> None:
    response = client.put(f"{URL}/shop", content=content, headers={"content-type": "application/json"})
    assert error_of(response) == (400, "malformed", None)


def test_another_content_type(client: TestClient) -> None:
    assert error_of(client.put(f"{URL}/shop", data={"labels": "cat"})) == (400, "malformed", None)


@pytest.mark.parametrize("name", ["%2e", "a%20b", "-x", "x" * 65, "%ff", "a%0a", "%00"])
def test_names_that_are_none(client: TestClient, name: str) -> None:
    assert error_of(client.put(f"{URL}/{name}", json=SHOP))[0] in (404, 422)
    for method in ("GET", "DELETE"):
        assert error_of(client.request(method, f"{URL}/{name}"))[:2] == (404, "not_found")
    assert client.get(URL).json() == {"label_sets": []}


def test_too_many_and_alike(client: TestClient, app: FastAPI) -> None:
    app.state.engine.label_sets = LabelSetStore(None, most=1)
    assert client.put(f"{URL}/shop", json=SHOP).status_code == 201
    assert error_of(client.put(f"{URL}/Shop", json=SHOP)) == (409, "conflict", "name")
    assert error_of(client.put(f"{URL}/other", json=SHOP)) == (409, "conflict", "name")
    assert client.put(f"{URL}/shop", json=SHOP).status_code == 200


def test_answers_are_what_the_openapi_document_says(client: TestClient) -> None:
    document = client.get("/v1/openapi.json").json()

    def check(response: Any, path: str, method: str) -> None:
        described = document["paths"][path][method]["responses"][str(response.status_code)]
        if response.content:
            schema = described["content"]["application/json"]["schema"] | {"components": document["components"]}
            Draft202012Validator(schema).validate(response.json())

    one = f"{URL}/{{name}}"
    assert set(document["paths"][one]) == {"get", "put", "delete"}
    check(client.put(f"{URL}/shop", json=SHOP), one, "put")
    check(client.put(f"{URL}/shop", json=SHOP), one, "put")
    check(client.put(f"{URL}/Shop", json=SHOP), one, "put")
    check(client.put(f"{URL}/x", json={}), one, "put")
    check(client.get(f"{URL}/shop"), one, "get")
    check(client.get(f"{URL}/x"), one, "get")
    check(client.get(URL), URL, "get")
    check(client.delete(f"{URL}/shop"), one, "delete")
    check(client.delete(f"{URL}/shop"), one, "delete")
    for status in ("200", "201", "400", "409", "413", "422", "503"):
        assert status in document["paths"][one]["put"]["responses"]
