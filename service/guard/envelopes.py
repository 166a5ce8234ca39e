"""One shape for every error, whoever made it: a middleware, a route of ours, BentoML, Starlette, or nobody expected it."""

from __future__ import annotations

import json
import logging

from starlette.types import Message, Receive, Scope, Send

from service.errors import RETRY_SECONDS, ApiError, envelope
from service.guard.access import OPEN
from service.guard.exchange import Exchange, exchange_of
from service.guard.foreign_errors import code_of, translated
from service.guard.middleware import Middleware
from service.refusals import refusals

log = logging.getLogger("candor.service")

MAX_HELD_BYTES = 64 * 2**10
REPLACED = frozenset({b"content-length", b"content-type"})

Headers = list[tuple[bytes, bytes]]


class Envelopes(Middleware):
    """Turn `ApiError`, unexpected exceptions and errors in other shapes into our envelope, and count each once.

    An error that comes in our envelope was counted by whoever made it.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer it where it is refused."""
        exchange = exchange_of(scope)
        answer = HeldAnswer(exchange, send, counts=scope["path"] not in OPEN)  # a probe while the model loads is no refusal
        try:
            await self._app(scope, receive, answer.send)
        except ApiError as error:
            exchange.refusal = exchange.refusal or error
        except Exception as error:
            if exchange.refusal is None and answer.held_code() is None:  # otherwise a handler has logged it
                log.error("unexpected error", exc_info=error, extra={"request_id": exchange.request_id})
                exchange.refusal = ApiError(500, "an unexpected error; it has been logged")
        await answer.finish()


class HeldAnswer:
    """The answer to one request, held back while it is an error.

    Args:
        exchange: whose `refusal` outdoes what the route answers, unless that has begun.
        send: to the caller.
        counts: whether a refusal counts as one.
    """

    def __init__(self, exchange: Exchange, send: Send, counts: bool) -> None:
        self._exchange, self._send, self._counts = exchange, send, counts
        self._started = False
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        """Take one message of the route."""
        first = message["type"] == "http.response.start"
        if first and not self._started and (message["status"] >= 400 or self._exchange.refusal is not None):
            self._start = message
        elif self._start is not None:
            self._body += message.get("body", b"")[: MAX_HELD_BYTES - len(self._body)]
        else:
            self._started = True
            await self._send(message)

    def held_code(self) -> str | None:
        """The error code of what is held, if that is our envelope."""
        return None if self._start is None else code_of(self._body)

    async def finish(self) -> None:
        """Send what is still to be sent."""
        refusal, code, start = self._exchange.refusal, self.held_code(), self._start
        if self._started or (start is None and refusal is None):
            return
        ours = code is not None and start is not None and (refusal is None or start["status"] == refusal.status)
        if refusal is None:
            assert start is not None
            refusal = translated(start["status"], self._body)
        if not ours:
            body = envelope(refusal.status, refusal.message, refusal.field)
            code, self._body = str(body["error"]["code"]), json.dumps(body).encode()
            if self._counts:
                refusals.count(code)
        self._exchange.code = code
        await self._answer(refusal, _kept(start) if self._exchange.refusal is None or ours else [])

    async def _answer(self, refusal: ApiError, headers: Headers) -> None:
        present = {name for name, _ in headers}
        headers = headers + [item for item in _headers_of(refusal) if item[0] not in present]
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self._body))]
        await self._send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": self._body})


def _kept(start: Message | None) -> Headers:
    headers = [] if start is None else start.get("headers", [])
    return [(name.lower(), value) for name, value in headers if name.lower() not in REPLACED]


def _headers_of(refusal: ApiError) -> Headers:
    if refusal.status == 401:
        return [(b"www-authenticate", b'Bearer realm="candor"')]
    if refusal.status == 408:
        return [(b"connection", b"close")]  # what is still to come is not waited for
    if refusal.status in (429, 503):
        return [(b"retry-after", b"%d" % (refusal.retry_after or RETRY_SECONDS))]
    return []
