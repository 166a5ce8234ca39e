"""Bodies, time, requests in flight, requests a minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import limits
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.guard import rate
from service.guard.body import BodyLimit, BodyTime
from service.guard.envelopes import Envelopes
from service.guard.exchange import exchange_of
from service.guard.in_flight import InFlight
from service.guard.rate import RateLimit


async def reads(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await JSONResponse({"bytes": len(body), "counted": exchange_of(scope).bytes_in})(scope, receive, send)


async def swallows(scope: Scope, receive: Receive, send: Send) -> None:
    """As BentoML's routes: whatever happens while the body is read is a 500."""
    try:
        await reads(scope, receive, send)
    except Exception:
        await JSONResponse({"error": "An unexpected error has occurred"}, 500)(scope, receive, send)


async def asked(app: ASGIApp, scope: dict[str, Any], receive: Receive) -> tuple[int, dict[bytes, bytes]]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http", "method": "POST", "path": "/v1/classify", "headers": [], **scope}, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], dict(sent[0]["headers"])


def chunks(number: int, size: int) -> Iterable[bytes]:
    return (b"x" * size for _ in range(number))


@pytest.mark.parametrize("app", [reads, swallows])
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_413(app: ASGIApp, announced: bool, counted: list[str]) -> None:
    content = b"x" * 1001 if announced else chunks(11, 100)
    answer = TestClient(Envelopes(BodyLimit(app, 1000))).post("/classify_batch", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert "1000 bytes" in answer.json()["error"]["message"]
    assert counted == ["too_large"]


def test_a_body_of_the_allowed_size_passes_and_is_counted() -> None:
    client = TestClient(Envelopes(BodyLimit(reads, 1000)))
    for content, size in ((b"x" * 1000, 1000), (chunks(10, 100), 1000), (b"", 0)):
        assert client.post("/", content=content).json() == {"bytes": size, "counted": size}


def test_an_announced_body_is_refused_before_it_is_read() -> None:
    async def receive() -> Message:
        raise AssertionError("read")

    for length in (b"1001", b"9" * 5000, b"-1", b"x"):
        found = asyncio.run(asked(Envelopes(BodyLimit(reads, 1000)), {"headers": [(b"content-length", length)]}, receive))
        assert found[0] == 413


@pytest.mark.parametrize("app", [reads, swallows])
def test_a_body_that_drips_is_408_and_the_connection_ends(app: ASGIApp, counted: list[str]) -> None:
    async def drip() -> Message:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    status, headers = asyncio.run(asked(Envelopes(BodyTime(app, 0.1)), {}, drip))
    assert (status, headers[b"connection"]) == (408, b"close")
    assert counted == ["too_slow"]


def test_a_body_that_has_arrived_may_be_worked_on_for_longer() -> None:
    async def works(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await asyncio.sleep(0.1)
        assert (await receive())["type"] == "http.disconnect"
        await JSONResponse({})(scope, receive, send)

    messages = [{"type": "http.request", "body": b"x", "more_body": False}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        if len(messages) == 1:
            await asyncio.sleep(0.1)
        return messages.pop(0)

    assert asyncio.run(asked(Envelopes(BodyTime(works, 0.05)), {}, receive))[0] == 200


def test_requests_beyond_the_places_are_503_and_a_place_comes_back(counted: list[str]) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()

        async def waits(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/v1/classify":
                await gate.wait()
            if scope.get("query_string") == b"fail":
                raise RuntimeError
            await JSONResponse({})(scope, receive, send)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        app = Envelopes(InFlight(waits, 2))
        first = [asyncio.create_task(asked(app, {"query_string": query}, receive)) for query in (b"", b"fail")]
        await asyncio.sleep(0)
        status, headers = await asked(app, {}, receive)
        assert (status, headers[b"retry-after"]) == (503, b"1")
        for path in ("/livez", "/readyz", "/healthz", "/metrics"):
            assert (await asked(app, {"path": path}, receive))[0] == 200
        gate.set()
        assert [(await task)[0] for task in first] == [200, 500]
        assert [(await asked(app, {}, receive))[0] for _ in range(3)] == [200] * 3

    asyncio.run(scenario())
    assert counted == ["unavailable", "internal"]


def limited(limit: str) -> TestClient:
    return TestClient(Envelopes(RateLimit(JSONResponse({}), limits.parse(limit))), client=("10.0.0.1", 1))


def test_the_third_of_two_a_minute_is_429_and_says_when() -> None:
    client = limited("2/minute")
    assert [client.get("/").status_code for _ in range(3)] == [200, 200, 429]
    refused = client.get("/")
    assert refused.json()["error"]["code"] == "too_many_requests"
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    assert client.get("/metrics").status_code == client.get("/livez").status_code == 200


def test_the_window_moves() -> None:
    client = limited("2/second")
    assert [client.get("/").status_code for _ in range(3)] == [200, 200, 429]
    assert client.get("/").headers["retry-after"] == "1"
    time.sleep(1.05)
    assert client.get("/").status_code == 200


def test_keys_and_addresses_are_counted_apart() -> None:
    app = RateLimit(JSONResponse({}), limits.parse("1/minute"))

    async def scenario(key: str | None, address: str) -> int:
        async def receive() -> Message:
            return {"type": "http.request"}

        scope: dict[str, Any] = {"client": (address, 1)}
        exchange_of(scope).key = key
        return (await asked(Envelopes(app), scope, receive))[0]

    cases = [
        ("a", "10.0.0.1", 200),
        ("a", "10.0.0.2", 429),  # the key counts, not the address
        ("b", "10.0.0.1", 200),
        (None, "10.0.0.1", 200),
        (None, "10.0.0.1", 429),
        (None, "10.0.0.2", 200),
        (None, "2001:db8::1", 200),
        (None, "2001:db8::ffff", 429),  # the same /64
        (None, "2001:db8:0:1::1", 200),
        (None, "::ffff:10.0.0.1", 429),
    ]
    for key, address, expected in cases:
        assert asyncio.run(scenario(key, address)) == expected, (key, address)


def test_many_addresses_do_not_grow_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "MAX_CALLERS", 10)
    app = RateLimit(JSONResponse({}), limits.parse("1/hour"))
    for i in range(100):
        app._count(f"10.0.0.{i}")
    assert len(app._callers) == 10
    assert len(app._storage.events) == 10
    assert len(app._storage.locks) <= 10
