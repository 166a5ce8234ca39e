"""How many bytes of bodies are in memory at the same time."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ApiError
from service.guard.body import refused_midway
from service.guard.exchange import exchange_of
from service.guard.middleware import Middleware, header


class HeldBodies(Middleware):
    """Refuse with 503 a body for which there is no room beside those of the other requests. It stands behind `BodyLimit`.

    Args:
        app: what it stands before.
        most: bytes of all bodies: an announced length counts at once, otherwise what has been read, until the answer.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        super().__init__(app)
        self._most, self._now = most, 0

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take room for the body, and give it back whatever happens."""
        exchange = exchange_of(scope)
        held = read = 0

        def hold(size: int) -> None:
            nonlocal held
            if self._now + size - held > self._most:
                message = "the bodies of other requests leave no room for this one; try again in a moment"
                raise refused_midway(exchange, ApiError(503, message, retry_after=1))
            self._now += size - held
            held = size

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > held:
                hold(read)
            return message

        try:
            hold(int(header(scope, b"content-length") or b"0"))
            await self._app(scope, counted, send)
        finally:
            self._now -= held
