"""The routes: two content types, one error envelope, never a 500 for what a caller sent."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

URL = "/v1/classify"
LOOKUP = "/v1/lookup"
LABELS = ["cat", "dog", "anchor"]


def png(width: int = 40, height: int = 30, colour: str = "red") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def error_of(response: Any) -> tuple[int, str, str | None]:
    body = response.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["code", "message", "field"]
    assert body["error"]["message"]
    return response.status_code, body["error"]["code"], body["error"]["field"]


def test_json_and_multipart_give_the_same_answer(client: TestClient) -> None:
    as_json = client.post(URL, json={"image": b64(png()), "labels": LABELS})
    as_form = client.post(URL, files={"image": ("x.png", png())}, data={"labels": json.dumps(LABELS)})
    as_fields = client.post(URL, files={"image": ("x.png", png())}, data={"labels": LABELS})
    assert as_json.status_code == as_form.status_code == as_fields.status_code == 200
    assert as_json.json() == as_form.json() == as_fields.json()
    result = as_json.json()["results"][0]
    scores = [s["score"] for s in result["scores"]]
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    assert scores == sorted(scores, reverse=True)
    assert (result["label"], result["confidence"]) == (result["scores"][0]["label"], scores[0])
    assert result["label_set"]["size"] == 3
    open_set = result["open_set"]
    assert (open_set["method"], open_set["known"]) == ("neglabel", None)  # nobody fitted a threshold to zero-shot
    assert 0 < open_set["score"] < 1
    assert [list(n) for n in open_set["nearest"]] == [["label", "similarity", "source", "same_as"]] * 5
    assert {n["source"] for n in open_set["nearest"] if n["label"] in LABELS} == {"labels"}


def test_without_a_vocabulary_the_score_is_mcm(without_vocabulary: TestClient) -> None:
    body = {"image": b64(png()), "labels": LABELS}
    open_set = without_vocabulary.post(URL, json=body).json()["results"][0]["open_set"]
    assert (open_set["method"], open_set["known"], open_set["nearest"]) == ("mcm", None, [])
    assert 1 / 3 < open_set["score"] < 1


def test_options(client: TestClient) -> None:
    body = {"images": [b64(png()), b64(png(colour="blue"))], "labels": LABELS, "top_k": 2, "open_set": False}
    results = client.post(URL, json=body | {"template": "a {}"}).json()["results"]
    assert [len(r["scores"]) for r in results] == [2, 2]
    assert [r["open_set"] for r in results] == [None, None]
    one = client.post(URL, json={"image": b64(png()), "labels": ["cat"]}).json()["results"][0]
    assert (one["confidence"], one["label_set"]["divergence"]) == (1.0, None)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"labels": LABELS}, (422, "invalid", "image")),
        ({"image": "?", "labels": LABELS}, (422, "invalid", "image")),
        ({"image": b64(b"hello"), "labels": LABELS}, (415, "not_an_image", "image")),
        ({"image": b64(png()[:60]), "labels": LABELS}, (415, "not_an_image", "image")),
        ({"images": [b64(png()), b64(b"x")], "labels": LABELS}, (415, "not_an_image", "images.1")),
        ({"image": b64(png(2000, 2000)), "labels": LABELS}, (413, "too_large", "image")),
        ({"images": [b64(png())] * 4, "labels": LABELS}, (413, "too_large", "images")),
        ({"image": b64(png()), "images": [b64(png())], "labels": LABELS}, (422, "invalid", "images")),
        ({"image": b64(png())}, (422, "invalid", "labels")),
        ({"image": b64(png()), "labels": []}, (422, "invalid", "labels")),
        ({"image": b64(png()), "labels": "cat"}, (422, "invalid", "labels")),
        ({"image": b64(png()), "labels": ["cat", "Cat"]}, (422, "invalid", "labels")),
        ({"image": b64(png()), "labels": ["cat", " "]}, (422, "invalid", "labels")),
        ({"image": b64(png()), "labels": ["cat", "x " * 200]}, (422, "invalid", "labels")),
        ({"image": b64(png()), "labels": LABELS, "template": "<end_of_text> {}"}, (422, "invalid", "template")),
        ({"image": b64(png()), "labels": ["cat", 3]}, (422, "invalid", "labels.1")),
        ({"image": b64(png()), "labels": [f"label {i}" for i in range(51)]}, (413, "too_large", "labels")),
        ({"image": b64(png()), "labels": LABELS, "template": "no place"}, (422, "invalid", "template")),
        ({"image": b64(png()), "labels": LABELS, "top_k": 0}, (422, "invalid", "top_k")),
        ({"image": b64(png()), "labels": LABELS, "surprise": 1}, (422, "invalid", "surprise")),
        ([1, 2], (422, "invalid", None)),
    ],
)
def test_impossible_requests(client: TestClient, body: Any, expected: tuple[int, str, str | None]) -> None:
    assert error_of(client.post(URL, json=body)) == expected


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"\xff", "application/json"),
        (b"cat", "text/plain"),
        (b"--x", "multipart/form-data"),
        (b"", "multipart/form-data; boundary=x"),
        (b"junk", "multipart/form-data; boundary=x"),
    ],
)
def test_bodies_that_cannot_be_read(client: TestClient, content: bytes, kind: str) -> None:
    response = client.post(URL, content=content, headers={"content-type": kind})
    assert error_of(response)[0] in (400, 422)


def test_a_lone_surrogate_is_refused(client: TestClient) -> None:
    body = json.dumps({"image": b64(png()), "labels": ["cat"]}).replace("cat", "\\ud800")
    assert error_of(client.post(URL, content=body, headers={"content-type": "application/json"}))[0] == 422


def test_an_address_in_place_of_a_file_is_not_fetched(client: TestClient) -> None:
    data = {"image": "http://127.0.0.1:9/x.png", "labels": '["cat"]'}
    response = client.post(URL, data=data, files={"other": ("x", b"x")})
    assert error_of(response) == (422, "invalid", "image")
    assert error_of(client.post(URL, files={"image": ("x.png", png())}, data={"labels": "[1"}))[0] == 400


def test_a_body_over_the_limit_is_refused_announced_or_not(client: TestClient) -> None:
    big = b"x" * 300_000
    headers = {"content-type": "application/json"}
    assert error_of(client.post(URL, content=big, headers=headers)) == (413, "too_large", None)
    assert error_of(client.post(URL, content=iter([big]), headers=headers)) == (413, "too_large", None)


def test_unknown_routes_and_methods_have_the_envelope(client: TestClient) -> None:
    assert error_of(client.get("/v1/nope")) == (404, "not_found", None)
    assert error_of(client.get(URL)) == (405, "method_not_allowed", None)


def test_metrics_count_answers_by_scope_and_refusals_by_code(client: TestClient, registry: CollectorRegistry) -> None:
    counted = [
        {"artifact": "zero-shot", "scope": s, "known": k} for s in ("base", "new") for k in ("true", "false", "unscored")
    ]
    for labels in counted:  # there from the start
        assert registry.get_sample_value("candor_predictions_total", labels) == 0
    answer = client.post(URL, json={"images": [b64(png())] * 2, "labels": LABELS}).json()
    client.post(URL, json={"labels": LABELS})
    labels = {"artifact": "zero-shot", "scope": "new", "known": "unscored"}
    assert registry.get_sample_value("candor_predictions_total", labels) == 2
    new = {"artifact": "zero-shot", "scope": "new"}
    total = sum(r["confidence"] for r in answer["results"])
    assert registry.get_sample_value("candor_confidence_sum", new) == pytest.approx(total)
    assert registry.get_sample_value("candor_confidence_bucket", new | {"le": "1.0"}) == 2
    assert registry.get_sample_value("candor_rejected_total", {"code": "invalid"}) == 1
    method = {"artifact": "zero-shot", "method": "neglabel"}
    scored = sum(r["open_set"]["score"] for r in answer["results"])
    assert registry.get_sample_value("candor_open_set_score_sum", method) == pytest.approx(scored)
    client.post(URL, json={"image": b64(png()), "labels": LABELS, "open_set": False})
    assert registry.get_sample_value("candor_predictions_total", labels) == 3
    assert registry.get_sample_value("candor_open_set_score_count", method) == 2


def test_a_service_that_is_still_loading_says_so(client: TestClient, app: FastAPI) -> None:
    app.state.engine = None
    response = client.post(URL, json={"image": b64(png()), "labels": LABELS})
    assert error_of(response) == (503, "unavailable", None)
    assert response.headers["retry-after"] == "5"


def test_the_openapi_document_shows_both_content_types_and_every_error(client: TestClient) -> None:
    document = client.get("/v1/openapi.json").json()
    for url, errors in ((URL, set()), (LOOKUP, {"404"})):
        operation = document["paths"][url]["post"]
        assert set(operation["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
        assert set(operation["responses"]) == {"200", "400", "413", "415", "422", "503"} | errors
    fields = {
        url: {
            kind.partition("/")[0]: set(content["schema"]["properties"])
            for kind, content in document["paths"][url]["post"]["requestBody"]["content"].items()
        }
        for url in (URL, LOOKUP)
    }
    options = {"labels", "template", "top_k", "open_set"}
    assert fields[URL] == {"application": {"image", "images"} | options, "multipart": {"image"} | options}
    assert fields[LOOKUP] == {"application": {"image", "images", "k"}, "multipart": {"image", "k"}}


def test_the_openapi_document_describes_the_answers(client: TestClient) -> None:
    schemas = client.get("/v1/openapi.json").json()["components"]["schemas"]
    body = {"image": b64(png()), "labels": LABELS}
    result = client.post(URL, json=body).json()["results"][0]
    word = client.post(LOOKUP, json={"image": b64(png())}).json()["results"][0]["nearest"][0]
    for found, name in (
        (result, "Result"),
        (result["open_set"], "OpenSet"),
        (result["open_set"]["nearest"][0], "Nearest"),
        (word, "Word"),
    ):
        assert set(found) == set(schemas[name]["properties"])


def test_lookup_finds_words_with_what_is_known_of_them(client: TestClient) -> None:
    as_json = client.post(LOOKUP, json={"images": [b64(png()), b64(png(colour="blue"))], "k": 4})
    files = [("image", ("x.png", png())), ("image", ("y.png", png(colour="blue")))]
    as_form = client.post(LOOKUP, files=files, data={"k": "4"})
    assert as_json.status_code == as_form.status_code == 200
    assert as_json.json() == as_form.json()
    assert as_json.json()["vocabulary"] == "x"
    for result in as_json.json()["results"]:
        words = result["nearest"]
        assert len({w["label"] for w in words}) == len(words) == 4
        assert [w["similarity"] for w in words] == sorted((w["similarity"] for w in words), reverse=True)
        assert all(w["metadata"] == {"gloss": f"a {w['label']}"} for w in words)
    everything = client.post(LOOKUP, json={"image": b64(png())}).json()["results"][0]["nearest"]
    assert len(everything) == 6  # all that there are; 10 were asked for


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (422, "invalid", "image")),
        ({"image": b64(png()), "k": 0}, (422, "invalid", "k")),
        ({"image": b64(png()), "k": 101}, (422, "invalid", "k")),
        ({"image": b64(png()), "k": "many"}, (422, "invalid", "k")),
        ({"image": b64(png()), "labels": LABELS}, (422, "invalid", "labels")),
        ({"images": [b64(png())] * 4}, (413, "too_large", "images")),
        ({"images": [b64(png()), b64(b"x")]}, (415, "not_an_image", "images.1")),
    ],
)
def test_impossible_lookups(client: TestClient, body: Any, expected: tuple[int, str, str | None]) -> None:
    assert error_of(client.post(LOOKUP, json=body)) == expected


def test_a_lookup_without_a_vocabulary_is_not_found(without_vocabulary: TestClient) -> None:
    response = without_vocabulary.post(LOOKUP, json={"image": b64(png())})
    assert error_of(response) == (404, "not_found", None)
    assert "--index" in response.json()["error"]["message"]


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=4), max_leaves=8
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([URL, LOOKUP]),
    st.dictionaries(st.sampled_from(["image", "images", "labels", "template", "top_k", "open_set", "k", "x"]), json_values),
)
def test_no_json_makes_a_500(client: TestClient, url: str, body: dict[str, Any]) -> None:
    body.setdefault("image", b64(png()))
    content = json.dumps(body)
    response = client.post(url, content=content, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400, 413, 415, 422)
    assert response.status_code == 200 or error_of(response)
