"""What every middleware of the guard is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from starlette.types import ASGIApp, Receive, Scope, Send

POLICY_VIOLATION = 1008  # RFC 6455


class Middleware(ABC):
    """A pure ASGI middleware for HTTP requests. There are no web sockets here, so none passes.

    A middleware within `Envelopes` refuses by raising `ApiError`.

    Args:
        app: what it stands before.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; let the server's start and stop pass."""
        if scope["type"] == "http":
            await self.handle(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})

    @abstractmethod
    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, or pass it on."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of a name (in lower case)."""
    return next((value for key, value in scope["headers"] if key == name), None)
