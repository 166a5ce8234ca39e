"""The end of a request that nothing else ended, in place of BentoML's own.

BentoML 1.4 sets a timer for every request and never cancels it. The timer holds the request's context, the tracing span
in it too: 5 kB a request, measured, until the time has passed. At 200 requests a second and ten minutes that is 600 MB.
"""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import envelope

RETRY_AFTER = 5  # seconds


class LastResort:
    """Refuse a request with 503 that has no answer in time; an answer that has begun is left alone.

    Args:
        app: what it stands before.
        timeout: seconds.
    """

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        self._app, self._seconds = app, timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; let all else pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def begun(message: Message) -> None:
            if limit.when() is not None:
                limit.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(self._seconds) as limit:
                await self._app(scope, receive, begun)
        except TimeoutError:
            if not limit.expired():
                raise
            body = envelope(503, f"not answered within {self._seconds:g} seconds")
            await JSONResponse(body, 503, {"Retry-After": str(RETRY_AFTER)})(scope, receive, send)
