"""The bodies of all requests together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from service.guard.envelopes import Envelopes
from service.guard.held_bodies import HeldBodies


async def asked(app: Any, receive: Receive, length: int | None = None) -> tuple[int, dict[bytes, bytes]]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    await app({"type": "http", "method": "POST", "path": "/v1/classify", "headers": headers}, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


def body(*sizes: int) -> Receive:
    parts = [{"type": "http.request", "body": b"x" * size, "more_body": True} for size in sizes]
    parts[-1]["more_body"] = False

    async def receive() -> Message:
        return parts.pop(0)

    return receive


async def unread() -> Message:
    raise AssertionError("read")


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_without_room_is_503_and_room_comes_back(announced: bool, counted: list[str]) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()

        async def waits(scope: Scope, receive: Receive, send: Send) -> None:
            await Request(scope, receive).body()
            await gate.wait()
            await JSONResponse({})(scope, receive, send)

        guard = HeldBodies(waits, 1000)
        app = Envelopes(guard)
        first = asyncio.create_task(asked(app, body(300, 300), 600 if announced else None))
        await asyncio.sleep(0)
        assert guard._now == 600
        for receive, length in ((unread, 401), (body(300, 101), None)):
            status, headers = await asked(app, receive, length)
            assert (status, headers[b"retry-after"]) == (503, b"1")
            assert guard._now == 600  # a refused one holds nothing
        second = asyncio.create_task(asked(app, body(400), 400))
        await asyncio.sleep(0)
        assert guard._now == 1000
        gate.set()
        assert [(await first)[0], (await second)[0], (await asked(app, body(1000), 1000))[0]] == [200] * 3
        assert guard._now == 0

    asyncio.run(scenario())
    assert counted == ["unavailable"] * 2


def test_an_announced_body_counts_before_it_arrives_and_once() -> None:
    async def scenario() -> None:
        guard = HeldBodies(JSONResponse({}), 1000)
        seen: list[int] = []

        async def reads(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(guard._now)
            await Request(scope, receive).body()
            seen.append(guard._now)
            raise RuntimeError

        guard._app = reads
        with pytest.raises(RuntimeError):
            await guard(
                {"type": "http", "headers": [(b"content-length", b"700")]}, body(300, 400), lambda _: asyncio.sleep(0)
            )
        assert (seen, guard._now) == ([700, 700], 0)

    asyncio.run(scenario())
