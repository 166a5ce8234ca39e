"""Callers who leave before they are answered."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import Message, Receive, Scope, Send

from service.guard.middleware import Middleware


class CallerGone(Middleware):
    """Stop working for a caller who has closed the connection: the model has others to serve, and a drain need not wait.

    Whoever else waits for the same work (a label that two requests encode) still gets it.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; from the end of its body on, listen for the connection's end."""
        complete, gone = asyncio.Event(), asyncio.Event()

        async def heard() -> Message:
            if complete.is_set():
                await gone.wait()
                return {"type": "http.disconnect"}
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                complete.set()
            return message

        async def listen() -> None:
            await complete.wait()
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.set()

        work = asyncio.ensure_future(self._app(scope, heard, send))
        listener = asyncio.ensure_future(listen())
        try:
            await asyncio.wait((work, listener), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await work
                return
            await work
        finally:
            listener.cancel()
            work.cancel()
