"""What the log may know of a batch of BentoML's."""

from __future__ import annotations

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.noted import note
from service.native import ROUTE


class NotedBatch:
    """Note what a batch was about. BentoML joins the items of several callers, so that only the answer says it.

    Args:
        app: BentoML's own routes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and read the answer to a batch."""
        if scope["type"] != "http" or scope["path"] != ROUTE:
            await self._app(scope, receive, send)
            return
        status, body = 0, bytearray()

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            if status == 200 and message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    results = orjson.loads(body)
                    artifact = next((result["artifact"] for result in results if "artifact" in result), None)
                    note(scope, {"artifact": artifact, "results": results})
            await send(message)

        await self._app(scope, receive, noting)
