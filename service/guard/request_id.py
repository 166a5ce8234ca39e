"""A name for each request, which its answer and its line in the log carry."""

from __future__ import annotations

import re
import secrets

from starlette.types import Message, Receive, Scope, Send

from service.guard.exchange import exchange_of
from service.guard.middleware import Middleware, header

NAME = b"x-request-id"
PLAIN = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestId(Middleware):
    """Take the caller's X-Request-ID where it is a plain one, or make one. Outermost: every answer carries it."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name the request."""
        given = header(scope, NAME) or b""
        request_id = given if PLAIN.fullmatch(given) else secrets.token_hex(12).encode()
        exchange_of(scope).request_id = request_id.decode()

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name, value) for name, value in message.get("headers", []) if name.lower() != NAME]
                message = {**message, "headers": [*headers, (NAME, request_id)]}
            await send(message)

        await self._app(scope, receive, named)
