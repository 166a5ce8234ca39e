"""Items of many callers: each answered or refused by itself, as POST /v1/classify does."""

from __future__ import annotations

import asyncio
import base64
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from service.native import ROUTE, JsonOnly, classify_items
from service.settings import Settings

LABELS = ["cat", "dog", "sun"]


def picture(seed: int) -> str:
    buffer = BytesIO()
    noise = np.random.default_rng(seed).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def answers(app: FastAPI, items: list[Any]) -> list[dict[str, Any]]:
    return asyncio.run(classify_items(app.state.engine, Settings(max_images=3, max_labels=50), items))


def test_an_item_gets_what_the_route_answers(app: FastAPI, client: TestClient) -> None:
    items = [{"image": picture(n), "labels": LABELS[n:], "top_k": 1} for n in range(2)]
    for answer, item in zip(answers(app, items), items, strict=True):
        expected = client.post("/v1/classify", json=item).json()
        assert answer.pop("artifact") == expected["artifact"]
        wanted = expected["results"][0]
        assert answer["label"] == wanted["label"]
        assert answer["confidence"] == pytest.approx(wanted["confidence"], abs=1e-5)
        assert answer.keys() == wanted.keys()
        assert len(answer["scores"]) == 1


@pytest.mark.parametrize(
    ("item", "code", "field"),
    [
        (5, "invalid", None),
        (None, "invalid", None),
        ([], "invalid", None),
        ({}, "invalid", None),
        ({"image": "not base64!", "labels": LABELS}, "invalid", "image"),
        ({"image": base64.b64encode(b"no image").decode(), "labels": LABELS}, "not_an_image", "image"),
        ({"image": picture(1), "labels": ["cat", "CAT"]}, "invalid", "labels"),
        ({"image": picture(1), "labels": [f"label {n}" for n in range(51)]}, "too_large", "labels"),
        ({"images": [picture(1), picture(2)], "labels": LABELS}, "invalid", "images"),
        ({"image": picture(1), "labels": LABELS, "surprise": 1}, "invalid", "surprise"),
    ],
)
def test_a_bad_item_is_refused_and_its_neighbours_are_not(app: FastAPI, item: Any, code: str, field: str | None) -> None:
    good = {"image": picture(1), "labels": LABELS}
    alone = answers(app, [good])[0]
    first, refused, last = answers(app, [good, item, good])
    assert refused.keys() == {"error"}
    assert refused["error"]["code"] == code
    if field is not None:
        assert refused["error"]["field"] == field
    for answer in (first, last):
        assert (answer["label"], answer["scores"][0]["label"]) == (alone["label"], alone["label"])


def test_no_items_are_no_answers(app: FastAPI) -> None:
    assert answers(app, []) == []


def test_a_fault_of_ours_stays_in_its_item(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    classify = app.state.engine.classify

    async def failing(request: Any) -> Any:
        if request.options.labels == ["bomb"]:
            raise RuntimeError("the model broke: secret")
        return await classify(request)

    monkeypatch.setattr(app.state.engine, "classify", failing)
    good, bad = ({"image": picture(1), "labels": labels} for labels in (LABELS, ["bomb"]))
    first, refused, last = answers(app, [good, bad, good])
    assert refused["error"]["code"] == "internal"
    assert "secret" not in refused["error"]["message"]
    assert first["label"] == last["label"]


@pytest.mark.parametrize("content", ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded", ""])
def test_only_json_reaches_bentoml(content: str) -> None:
    async def echo(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    inner = Starlette(routes=[Route(ROUTE, echo, methods=["POST"]), Route("/other", echo, methods=["POST"])])
    client = TestClient(JsonOnly(inner, Settings()))
    refused = client.post(ROUTE, content=b"[]", headers={"content-type": content})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "malformed")
    assert client.post("/other", content=b"[]", headers={"content-type": content}).text == "[]"
    assert client.post(ROUTE, content=b"[]", headers={"content-type": "Application/JSON; charset=utf-8"}).text == "[]"


@pytest.mark.parametrize(
    ("items", "status", "message"),
    [
        ([5] * 3, 200, ""),
        ([{"labels": ["cat"] * 900}] * 3, 200, ""),  # as many as three requests may have
        ([5] * 4, 413, "4 items given; at most 3 are allowed"),
        ([5] * 50_000, 413, "50000 items given; at most 3 are allowed"),
        ([[5] * 200_000], 413, "too many values; see the limits of images, labels and templates"),
    ],
)
def test_a_caller_has_no_more_items_than_images(items: list[Any], status: int, message: str) -> None:
    async def size(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    inner = Starlette(routes=[Route(ROUTE, size, methods=["POST"])])
    answer = TestClient(JsonOnly(inner, Settings(max_images=3))).post(ROUTE, json={"items": items})
    assert answer.status_code == status
    if status == 200:
        assert int(answer.text) == len(answer.request.content)
    else:
        error = answer.json()["error"]
        assert (error["code"], error["message"], error["field"]) == ("too_large", message, "items")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"\xff\xfe{}", b"[" * 300 + b"]" * 300, b'{"items": 1e}'])
def test_what_cannot_be_counted_does_not_reach_bentoml(body: bytes) -> None:
    client = TestClient(JsonOnly(Starlette(), Settings()))
    refused = client.post(ROUTE, content=body, headers={"content-type": "application/json"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "malformed")
