"""A request that nothing else ends is refused, and leaves nothing behind: BentoML's own timeout keeps a timer of each."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.guard.last_resort import LastResort

SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}


async def ask(app: ASGIApp) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(dict(SCOPE), receive, send)
    return sent


async def prompt(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("ok")(scope, receive, send)


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(60)


async def slowly(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b"all", "more_body": False})


def test_what_is_never_answered_is_refused() -> None:
    start, body = asyncio.run(ask(LastResort(never, 0.05)))
    assert start["status"] == 503
    assert (b"retry-after", b"5") in start["headers"]
    assert body["body"] == b'{"error":{"code":"unavailable","message":"not answered within 0.05 seconds","field":null}}'


def test_an_answer_that_has_begun_is_left_alone() -> None:
    start, body = asyncio.run(ask(LastResort(slowly, 0.05)))
    assert (start["status"], body["body"]) == (200, b"all")


def test_a_timeout_of_the_application_is_its_own() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        asyncio.run(ask(LastResort(failing, 60)))


@pytest.mark.parametrize(("middleware", "kept"), [(LastResort, 0), (TimeoutMiddleware, 50)])
def test_no_timer_stays(middleware: Any, kept: int) -> None:
    """BentoML keeps all fifty; once it does not, ours can go."""

    async def fifty() -> int:
        for _ in range(50):
            await ask(middleware(prompt, 600))
        gc.collect()
        handles = [thing for thing in gc.get_objects() if type(thing) is asyncio.TimerHandle]
        return sum(not handle.cancelled() for handle in handles)

    assert asyncio.run(fifty()) == kept
