"""How large a body may be, and how long a caller may take to send it."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ApiError
from service.guard.exchange import Exchange, exchange_of
from service.guard.middleware import Middleware, header


class BodyLimit(Middleware):
    """Refuse a body that is too large: by its announced length at once, otherwise while it is read.

    Args:
        app: what it stands before.
        max_bytes: of one body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        super().__init__(app)
        self._max = max_bytes

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a counting `receive`."""
        exchange = exchange_of(scope)
        announced = header(scope, b"content-length") or b"0"
        if not announced.isdigit() or int(announced[:20]) > self._max:
            raise self._refusal()

        async def counted() -> Message:
            message = await receive()
            exchange.bytes_in += len(message.get("body", b""))
            if exchange.bytes_in > self._max:
                raise refused_midway(exchange, self._refusal())
            return message

        await self._app(scope, counted, send)

    def _refusal(self) -> ApiError:
        return ApiError(413, f"the request is larger than the {self._max} bytes allowed")


class BodyTime(Middleware):
    """Refuse with 408 a body that does not arrive in time: a caller may not hold a place by sending a byte now and then.

    Args:
        app: what it stands before.
        seconds: from the first look at the body to its last byte.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        super().__init__(app)
        self._seconds = seconds

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a `receive` that has an end."""
        exchange = exchange_of(scope)
        complete, deadline = False, 0.0

        async def timed() -> Message:
            nonlocal complete, deadline
            if complete:
                return await receive()
            deadline = deadline or asyncio.get_running_loop().time() + self._seconds
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                message_text = f"the body did not arrive within {self._seconds:g} seconds"
                raise refused_midway(exchange, ApiError(408, message_text)) from None
            complete = not message.get("more_body", False)
            return message

        await self._app(scope, timed, send)


def refused_midway(exchange: Exchange, error: ApiError) -> ApiError:
    """Note a refusal for `Envelopes` while a body is read: a route of BentoML's would make a 500 of the error."""
    exchange.refusal = error
    return error
