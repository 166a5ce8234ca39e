from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.guard.gone import CallerGone

SCOPE: dict[str, Any] = {"type": "http", "path": "/", "method": "POST", "headers": []}
BODY: list[Message] = [
    {"type": "http.request", "body": b"a", "more_body": True},
    {"type": "http.request", "body": b"b", "more_body": False},
]


class Connection:
    """A caller who sends a body and leaves when told to."""

    def __init__(self) -> None:
        self.messages = list(BODY)
        self.left = asyncio.Event()
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        if self.messages:
            return self.messages.pop(0)
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


async def body_of(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            return body


def test_work_for_a_caller_who_left_is_stopped() -> None:
    async def run() -> list[str]:
        connection, seen = Connection(), []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append((await body_of(receive)).decode())
            connection.left.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                seen.append("stopped")
                raise

        await asyncio.wait_for(CallerGone(app)(SCOPE, connection.receive, connection.send), 5)
        assert connection.sent == []
        return seen

    assert asyncio.run(run()) == ["ab", "stopped"]


def test_a_caller_who_stays_is_answered_and_nothing_is_left_running() -> None:
    async def run() -> tuple[list[Message], int]:
        connection = Connection()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            body = await body_of(receive)
            await asyncio.sleep(0.01)
            await send({"type": "http.response.body", "body": body})

        await CallerGone(app)(SCOPE, connection.receive, connection.send)
        await asyncio.sleep(0)
        return connection.sent, len(asyncio.all_tasks())

    assert asyncio.run(run()) == ([{"type": "http.response.body", "body": b"ab"}], 1)


def test_an_error_passes_and_a_route_may_listen_itself() -> None:
    async def run() -> None:
        connection = Connection()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await body_of(receive)
            asyncio.get_running_loop().call_later(0.01, connection.left.set)
            assert (await receive())["type"] == "http.disconnect"
            raise ValueError("as it was")

        await CallerGone(app)(SCOPE, connection.receive, connection.send)

    with pytest.raises(ValueError, match="as it was"):
        asyncio.run(run())


def test_a_server_that_stops_takes_the_work_along() -> None:
    async def run() -> bool:
        connection, stopped = Connection(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                stopped.set()

        serving = asyncio.ensure_future(CallerGone(app)(SCOPE, connection.receive, connection.send))
        await asyncio.sleep(0.01)
        serving.cancel()
        await asyncio.wait_for(stopped.wait(), 5)
        return stopped.is_set()

    assert asyncio.run(run())
