"""How many requests are answered at the same time."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ApiError
from service.guard.access import UNLIMITED
from service.guard.middleware import Middleware


class InFlight(Middleware):
    """Refuse with 503 what comes while enough requests are being answered: each may hold a body in memory.

    Args:
        app: what it stands before.
        most: requests at once.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        super().__init__(app)
        self._most, self._now = most, 0

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a place, and give it back whatever happens."""
        if scope["path"] in UNLIMITED:
            return await self._app(scope, receive, send)
        if self._now >= self._most:
            raise ApiError(503, f"{self._most} requests are being answered; try again in a moment", retry_after=1)
        self._now += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._now -= 1
