"""What is answered while the service loads, serves and drains; ASGI by hand, no server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from service.guard.drain import Drain, Traffic


class Caller:
    """Sends one request and keeps the answer."""

    def __init__(self, body: tuple[bytes, ...] = (b"",)) -> None:
        self._body = list(body)
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        part = self._body.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(self._body)}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def unread(self) -> int:
        return len(self._body)

    @property
    def answer(self) -> tuple[int, dict[str, str], bytes]:
        start, *rest = self.sent
        headers = {k.decode(): v.decode() for k, v in start["headers"]}
        return start["status"], headers, b"".join(m["body"] for m in rest)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Connection", b"keep-alive")]})
    await send({"type": "http.response.body", "body": b"hello"})


def asked(traffic: Traffic, path: str = "/v1/classify", body: tuple[bytes, ...] = (b"",)) -> Caller:
    caller = Caller(body)
    asyncio.run(Drain(hello, traffic)({"type": "http", "path": path}, caller.receive, caller.send))
    return caller


def in_state(state: Any) -> Traffic:
    traffic = Traffic()
    traffic.state = state
    return traffic


def test_a_ready_service_answers_as_if_nothing_stood_before_it() -> None:
    assert asked(in_state("ready")).answer == (200, {"Connection": "keep-alive"}, b"hello")


@pytest.mark.parametrize(("state", "why"), [("loading", "still loading"), ("draining", "shutting down")])
def test_else_it_refuses_when_the_body_has_been_read(state: str, why: str) -> None:
    caller = asked(in_state(state), body=(b"one", b"two", b"three"))
    status, headers, body = caller.answer
    assert (status, headers["retry-after"], headers["content-length"]) == (503, "5", str(len(body)))
    assert headers.get("connection") == ("close" if state == "draining" else None)
    error = json.loads(body)["error"]
    assert (error["code"], error["field"], why in error["message"]) == ("unavailable", None, True)
    assert caller.unread == 0


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/metrics"])
@pytest.mark.parametrize("state", ["loading", "ready", "draining"])
def test_health_and_metrics_are_always_answered(state: str, path: str) -> None:
    assert asked(in_state(state), path).answer[0] == 200


def test_requests_are_counted_to_their_end_and_their_answers_close_the_connection() -> None:
    traffic = in_state("ready")
    counts = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        counts.append(traffic.in_flight)
        traffic.state = "draining"  # while it is answered
        await hello(scope, receive, send)

    caller = Caller()
    asyncio.run(Drain(slow, traffic)({"type": "http", "path": "/"}, caller.receive, caller.send))
    assert caller.answer == (200, {"connection": "close"}, b"hello")
    assert (counts, traffic.in_flight) == ([1], 0)


def test_a_request_that_fails_is_no_longer_in_flight() -> None:
    traffic = in_state("ready")

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        asyncio.run(Drain(fails, traffic)({"type": "http", "path": "/"}, Caller().receive, Caller().send))
    assert traffic.in_flight == 0
    asyncio.run(Drain(hello, traffic)({"type": "lifespan"}, Caller().receive, Caller().send))  # no request at all
