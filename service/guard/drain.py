"""Which requests are answered while the service starts and ends, and how many are under way."""

from __future__ import annotations

import json
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import envelope
from service.refusals import refusals

ALWAYS = ("/livez", "/healthz", "/readyz", "/metrics")  # answered in every state, and no reason to wait for
WHY = {
    "loading": "the model is still loading; try again in a few seconds",
    "draining": "the service is shutting down; send the request to another one, or again in a few seconds",
}
RETRY_AFTER = b"5"  # seconds


class Traffic:
    """What the service does with requests. For one event loop.

    Attributes:
        state: answers requests only when "ready".
        in_flight: requests that were taken in when it was ready, and are not answered yet.
    """

    def __init__(self) -> None:
        self.state: Literal["loading", "ready", "draining"] = "loading"
        self.in_flight = 0


class Drain:
    """ASGI middleware: counts requests, and refuses them with 503 and Retry-After unless the service is ready.

    Once the service drains, every answer closes its connection, so that a client's next request goes elsewhere.

    Args:
        app: what answers.
        traffic: state of the service.
    """

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app, self._traffic = app, traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in ALWAYS:
            await self._app(scope, receive, self._closing(send))
        elif self._traffic.state != "ready":
            await self._refuse(WHY[self._traffic.state], receive, self._closing(send))
        else:
            self._traffic.in_flight += 1
            try:
                await self._app(scope, receive, self._closing(send))
            finally:
                self._traffic.in_flight -= 1

    def _closing(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and self._traffic.state == "draining":
                headers = [h for h in message.get("headers", ()) if h[0].lower() != b"connection"]
                message = {**message, "headers": [*headers, (b"connection", b"close")]}
            await send(message)

        return sending

    async def _refuse(self, why: str, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass  # a connection closed on a body half read is reset, and the client may never see the answer
        answer = envelope(503, why)
        refusals.count(str(answer["error"]["code"]))
        body = json.dumps(answer).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", RETRY_AFTER),
        ]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})
