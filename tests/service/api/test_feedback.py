"""POST /v1/feedback, over HTTP and with real receipts."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from jsonschema_rs import Draft202012Validator
from PIL import Image
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from starlette.testclient import TestClient

from candor.clip.backbone import Backbone
from service.api.feedback import FeedbackRequest
from service.app import create_app
from service.artifacts.loader import serve_classifier
from service.classifier import Classifier
from service.engine import Engine
from service.feedback.service import open_feedback
from service.guard.access import may
from service.guard.chain import guarded
from service.metrics import ServiceMetrics
from service.settings import Settings

URL = "/v1/feedback"
LABELS = ["cat", "dog", "anchor"]
JSON = {"content-type": "application/json"}


@pytest.fixture
def app(tiny_clip: Backbone, registry: CollectorRegistry, tmp_path: Path) -> Iterator[FastAPI]:
    settings = Settings(state=tmp_path, max_label_length=20, max_labels=5, max_images=3)
    app = create_app(settings)
    feedback = open_feedback(settings)
    serving = serve_classifier(Classifier(tiny_clip), settings)
    app.state.engine = Engine(settings, serving, ServiceMetrics(registry), None, feedback)
    yield app
    feedback.store.close()


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(guarded(app, Settings(allow_anonymous=True)), raise_server_exceptions=False) as client:
        yield client


def answered(client: TestClient, number: int = 1) -> list[dict[str, Any]]:
    buffer = BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
    image = base64.b64encode(buffer.getvalue()).decode()
    response = client.post("/v1/classify", json={"images": [image] * number, "labels": LABELS})
    return response.raise_for_status().json()["results"]


def error_of(response: Any) -> tuple[int, str, str | None]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["field"]


def test_one_label_is_stored_and_counted_and_a_repeat_is_not(client: TestClient, app: FastAPI) -> None:
    (result,) = answered(client)
    sent = {"prediction_id": result["prediction_id"], "label": result["label"].upper()}
    assert client.post(URL, json=sent).json() == {"results": [{"status": "stored", "outcome": "correct"}]}
    assert client.post(URL, json=sent).json() == {"results": [{"status": "repeated", "outcome": "correct"}]}
    lines = TestClient(app).get("/metrics").text.splitlines()
    tag, scope = client.get("/v1/artifacts").json()["active"], result["scope"]
    bin_ = max(b for b in (f"{i / 20:.2f}" for i in range(20)) if float(b) < result["confidence"])
    assert f'candor_feedback_total{{artifact="{tag}",bin="{bin_}",scope="{scope}"}} 1.0' in lines
    assert sum(float(line.split()[-1]) for line in lines if line.startswith("candor_feedback_total{")) == 1
    assert "candor_feedback_store_up 1.0" in lines


def test_a_conflict_names_the_outcome_and_not_the_label(client: TestClient, registry: CollectorRegistry) -> None:
    (result,) = answered(client)
    id_ = result["prediction_id"]
    assert client.post(URL, json={"prediction_id": id_, "label": "moon stone"}).json()["results"][0]["outcome"] == "outside"
    other = {"prediction_id": id_, "label": result["label"]}
    refused = client.post(URL, json=other)
    assert error_of(refused) == (409, "conflict", "label")
    assert "'outside'" in refused.text
    assert "moon" not in refused.text
    assert registry.get_sample_value("candor_feedback_refused_total", {"reason": "conflict"}) == 1
    assert client.post(URL, json=other | {"overwrite": True}).json()["results"] == [
        {"status": "overwritten", "outcome": "correct"}
    ]


def test_several_are_answered_in_their_order_each_by_itself(client: TestClient, registry: CollectorRegistry) -> None:
    one, two, three = (result["prediction_id"] for result in answered(client, 3))
    sent = [
        {"prediction_id": one, "label": "cat"},
        {"prediction_id": one[:-1] + ("A" if one[-1] != "A" else "E"), "label": "cat"},
        {"prediction_id": two, "label": "x" * 21},
        {"prediction_id": two, "label": "dog"},
        {"prediction_id": two, "label": "cow"},
        {"prediction_id": three, "label": " _ "},
        {"prediction_id": three, "label": "a\0b"},
        {"prediction_id": three, "label": "moon"},
    ]
    response = client.post(URL, json={"feedback": sent})
    assert response.status_code == 200
    results = response.json()["results"]
    assert [r.get("status") or (r["error"]["code"], r["error"]["field"]) for r in results] == [
        "stored",
        ("invalid", "feedback.1.prediction_id"),
        ("invalid", "feedback.2.label"),
        "stored",
        ("conflict", "feedback.4.label"),
        ("invalid", "feedback.5.label"),
        ("invalid", "feedback.6.label"),
        "stored",
    ]
    assert registry.get_sample_value("candor_rejected_total", {"code": "invalid"}) == 4
    assert registry.get_sample_value("candor_feedback_refused_total", {"reason": "invalid"}) == 1


def test_a_thousand_are_taken_and_one_more_is_not(client: TestClient) -> None:
    (id_,) = (result["prediction_id"] for result in answered(client))
    sent = [{"prediction_id": id_, "label": "a, b, c, d", "overwrite": True} for _ in range(1000)]
    results = client.post(URL, json={"feedback": sent}).json()["results"]
    assert [result["status"] for result in results] == ["stored"] + ["repeated"] * 999
    assert error_of(client.post(URL, json={"feedback": [*sent, sent[0]]})) == (413, "too_large", "feedback")


def test_many_wrong_values_cost_one_error_or_none(client: TestClient) -> None:
    """Pydantic would make an error of each."""
    many = client.post(URL, json={"feedback": [1] * 31_000})
    assert error_of(many) == (422, "invalid", "feedback.0")
    assert len(many.content) < 500
    more = error_of(client.post(URL, content=b'{"feedback":[' + b"1," * 32_000 + b"1]}", headers=JSON))
    assert more == (413, "too_large", None)


def test_no_more_than_one_wrong_item_is_looked_at() -> None:
    with pytest.raises(ValidationError) as caught:
        FeedbackRequest.model_validate_json('{"feedback":[1,1,1]}', strict=True)
    assert caught.value.error_count() == 1


def test_a_long_label_is_refused_before_anything_is_made_of_it(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    (result,) = answered(client)
    monkeypatch.setattr("service.api.feedback.readable", lambda _: pytest.fail("it was split"))
    sent = {"prediction_id": result["prediction_id"], "label": "a " * 20}
    assert error_of(client.post(URL, json=sent)) == (422, "invalid", "label")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (422, "invalid", "prediction_id")),
        ({"prediction_id": "x"}, (422, "invalid", "label")),
        ({"label": "x"}, (422, "invalid", "prediction_id")),
        ({"prediction_id": "x", "label": 1}, (422, "invalid", "label")),
        ({"prediction_id": "", "label": "cat"}, (422, "invalid", "prediction_id")),
        ({"prediction_id": "forged", "label": "cat"}, (422, "invalid", "prediction_id")),
        ({"prediction_id": "x", "label": "cat", "overwrite": 1}, (422, "invalid", "overwrite")),
        ({"prediction_id": "x", "label": "cat", "surprise": 1}, (422, "invalid", "surprise")),
        ({"prediction_id": "x", "label": "cat", "feedback": []}, (422, "invalid", "feedback")),
        ({"feedback": [], "label": "cat"}, (422, "invalid", "feedback")),
        ({"feedback": [{"prediction_id": "x", "label": "cat"}], "overwrite": True}, (422, "invalid", "overwrite")),
        ({"feedback": [{"prediction_id": "x"}]}, (422, "invalid", "feedback.0.label")),
        ([], (422, "invalid", None)),
    ],
)
def test_impossible_requests(client: TestClient, body: Any, expected: tuple[int, str, str | None]) -> None:
    assert error_of(client.post(URL, json=body)) == expected
    document = client.get("/v1/openapi.json").json()
    schema = {"$ref": "#/components/schemas/FeedbackRequest", "components": document["components"]}
    assert Draft202012Validator(schema).is_valid(body) is ("forged" in str(body))  # all but that can be told by its shape


def test_the_schema_takes_what_the_service_takes(client: TestClient) -> None:
    document = client.get("/v1/openapi.json").json()
    schema = {"$ref": "#/components/schemas/FeedbackRequest", "components": document["components"]}
    one = {"prediction_id": "x", "label": "cat"}
    for good in (one, one | {"overwrite": True}, {"feedback": [one, one]}, {"feedback": [one], "label": None}):
        assert Draft202012Validator(schema).is_valid(good)


def test_only_json_is_taken(client: TestClient) -> None:
    half = b'{"prediction_id": "x", "label": "\\ud800"}'  # of a surrogate pair
    assert error_of(client.post(URL, content=half, headers=JSON))[0] == 400
    assert error_of(client.post(URL, data={"label": "cat"})) == (400, "malformed", None)


def test_nothing_is_taken_where_it_is_off(without_vocabulary: TestClient) -> None:
    response = without_vocabulary.post(URL, json={"prediction_id": "x", "label": "cat"})
    assert error_of(response) == (404, "not_found", None)
    assert "CANDOR_FEEDBACK" in response.text


def test_a_store_that_fails_is_a_503_that_says_when(client: TestClient, app: FastAPI, tmp_path: Path) -> None:
    (result,) = answered(client)
    app.state.engine.feedback.store.close()
    for path in tmp_path.glob("feedback.db*"):
        path.unlink()
    (tmp_path / "feedback.db").mkdir()
    response = client.post(URL, json={"prediction_id": result["prediction_id"], "label": "cat"})
    assert error_of(response) == (503, "unavailable", None)
    assert int(response.headers["retry-after"]) > 0
    assert "candor_feedback_store_up 0.0" in TestClient(app).get("/metrics").text.splitlines()


def test_no_label_is_in_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    (result,) = answered(client)
    with caplog.at_level(logging.DEBUG):
        client.post(URL, json={"prediction_id": result["prediction_id"], "label": "secret moon"})
        client.post(URL, json={"prediction_id": result["prediction_id"], "label": "other secret"})
    assert "secret" not in caplog.text


def test_any_key_for_the_api_may_send_it() -> None:
    assert may("api", "POST", URL)
    assert not may("metrics", "POST", URL)
