"""What the log learns of a batch: only its answer says it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.guard.exchange import Exchange, exchange_of
from service.native import ROUTE
from service.noted_batch import NotedBatch

RESULT = {"artifact": "coop-1", "label": "cat", "label_set": {"size": 7}}
REFUSED = {"error": {"code": "invalid", "message": "no", "field": None}}


def noted(status: int, answer: Any, path: str = ROUTE) -> Exchange:
    body, passed = json.dumps(answer).encode(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body[:5], "more_body": True})
        await send({"type": "http.response.body", "body": body[5:]})

    async def send(message: Message) -> None:
        passed.append(message)

    async def receive() -> Message:
        raise AssertionError("read")

    scope: dict[str, Any] = {"type": "http", "path": path, "method": "POST"}
    asyncio.run(NotedBatch(app)(scope, receive, send))
    assert b"".join(message.get("body", b"") for message in passed) == body
    return exchange_of(scope)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([RESULT, REFUSED], ("coop-1", 2, 7)),
        ([REFUSED, RESULT], ("coop-1", 2, 7)),
        ([REFUSED], (None, 1, None)),
        ([], (None, 0, None)),
    ],
)
def test_a_batch_is_noted(answer: list[Any], expected: tuple[object, ...]) -> None:
    exchange = noted(200, answer)
    assert (exchange.artifact, exchange.images, exchange.labels) == expected


@pytest.mark.parametrize(("status", "path"), [(503, ROUTE), (400, ROUTE), (200, "/schema.json")])
def test_other_answers_are_not(status: int, path: str) -> None:
    assert noted(status, REFUSED, path) == Exchange()
