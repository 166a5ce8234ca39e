"""Headers that every answer carries."""

from __future__ import annotations

from starlette.types import Message, Receive, Scope, Send

from service.guard.middleware import Middleware

DEFAULTS = {
    b"x-content-type-options": b"nosniff",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
}
HIDDEN = frozenset({b"server"})


class SecurityHeaders(Middleware):
    """Add the headers that an answer has not set itself, and take away what tells about the server."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a `send` that completes the headers."""

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name, value) for name, value in message.get("headers", []) if name.lower() not in HIDDEN]
                given = {name.lower() for name, _ in headers}
                headers += [(name, value) for name, value in DEFAULTS.items() if name not in given]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, completed)
