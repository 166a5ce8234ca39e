"""`/v1/label_sets`: what is kept, refused, replaced and forgotten, and what a request takes from it."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

import pytest
from fastapi import FastAPI
from jsonschema_rs import Draft202012Validator
from PIL import Image
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from candor.clip.backbone import Backbone
from service.app import create_app
from service.artifacts.loader import serve_classifier
from service.classifier import Classifier
from service.engine import Engine
from service.labels.store import LabelSetStore
from service.metrics import ServiceMetrics
from service.settings import Settings

URL = "/v1/label_sets"
SHOP: dict[str, Any] = {"labels": ["cat", "Red_dog"], "templates": ["a {}.", "the {}"], "threshold": 0.5}


def png() -> str:
    buffer = BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


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


def test_no_more_texts_than_the_settings_allow(tiny_clip: Backbone, registry: CollectorRegistry) -> None:
    app = create_app(settings := Settings(max_texts=6))
    serving = serve_classifier(Classifier(tiny_clip), settings)
    app.state.engine = Engine(settings, serving, ServiceMetrics(registry), LabelSetStore(None))
    image = png()
    with TestClient(app) as client:
        three = {"labels": ["cat", "dog", "sun"], "templates": ["a {}", "the {}"]}
        assert client.put(f"{URL}/three", json=three).status_code == 201
        refused = client.put(f"{URL}/four", json=three | {"labels": ["cat", "dog", "sun", "tree"]})
        assert error_of(refused) == (413, "too_large", "templates")
        message = "4 labels with 2 templates are 8 texts; at most 6 are allowed"
        assert refused.json()["error"]["message"] == message
        assert client.get(f"{URL}/four").status_code == 404

        def ask(**more: Any) -> Any:
            return client.post("/v1/classify", json={"image": image} | more)

        assert ask(label_set="three").status_code == 200
        assert ask(labels=["cat", "dog", "sun"], templates=["a {}", "the {}"]).status_code == 200
        for options in (
            {"label_set": "three", "templates": ["a {}", "the {}", "no {}"]},
            {"labels": ["cat", "dog", "sun", "tree"], "templates": ["a {}", "the {}"]},
        ):
            assert error_of(ask(**options)) == (413, "too_large", "templates")
        seven = [f"label {n}" for n in range(7)]
        assert error_of(ask(labels=seven)) == (413, "too_large", "labels")  # the tuned prompt is one template
        assert error_of(client.put(f"{URL}/seven", json={"labels": seven})) == (413, "too_large", "labels")
        asked = {"inputs": image, "parameters": {"candidate_labels": seven}}
        assert error_of(client.post("/v1/hf", json=asked)) == (413, "too_large", "parameters.candidate_labels")


def test_a_form_field_with_a_comma_is_one_label(client: TestClient) -> None:
    image = {"image": base64.b64decode(png())}
    answer = client.post("/v1/classify", files=image, data={"labels": "cat,dog"}).raise_for_status().json()
    assert [score["label"] for score in answer["results"][0]["scores"]] == ["cat,dog"]


def test_a_threshold_of_the_request_does_not_outdo_a_labels_own(client: TestClient) -> None:
    labels = ["cat", "dog"]
    client.put(f"{URL}/pets", json={"labels": labels, "thresholds": dict.fromkeys(labels, 1), "threshold": 0})

    def accepted(**more: Any) -> bool:
        asked = {"image": png(), "label_set": "pets"} | more
        answer: bool = client.post("/v1/classify", json=asked).raise_for_status().json()["results"][0]["accepted"]
        return answer

    assert [accepted(), accepted(threshold=0.01), accepted(thresholds={"cat": 0, "dog": 0})] == [False, False, True]
    assert accepted(thresholds={}) is True  # the set's threshold stays


def test_labels_that_take_too_long_are_a_503_and_the_next_try_goes_on(
    tiny_clip: Backbone, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(timeout_seconds=0.3, max_batch=8, threads=1)
    serving = serve_classifier(Classifier(tiny_clip), settings)
    serving.model.text_chunk = 1
    app = create_app(settings)
    app.state.engine = Engine(settings, serving, ServiceMetrics(registry), LabelSetStore(None))
    plain = Classifier.encode_labels
    encoded: list[str] = []

    def slow(self: Classifier, names: tuple[str, ...], *more: Any) -> Any:
        encoded.extend(names)
        time.sleep(0.1)
        return plain(self, names, *more)

    monkeypatch.setattr(Classifier, "encode_labels", slow)
    names = [f"label {n}" for n in range(8)]

    def tries(ask: Callable[[], Any], wanted: int) -> int:
        """How many refusals come before the answer."""
        for refused in range(20):
            if (answer := ask()).status_code == wanted:
                return refused
            assert error_of(answer) == (503, "unavailable", None)
            assert int(answer.headers["retry-after"]) >= 1
        raise AssertionError("no try came to an end")

    with TestClient(app) as client:
        assert tries(lambda: client.put(f"{URL}/slow", json={"labels": names}), 201) >= 1
        others = {"image": png(), "labels": [f"other {n}" for n in range(8)]}
        assert tries(lambda: client.post("/v1/classify", json=others), 200) >= 1
    assert len(set(encoded)) == 16
    assert len(encoded) <= 20  # nothing that was encoded is encoded again


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
