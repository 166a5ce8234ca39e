"""One line in the log for each request."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.guard.access import OPEN
from service.guard.exchange import Exchange, exchange_of
from service.guard.middleware import Middleware

log = logging.getLogger("candor.requests")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
CATCH_ALL = ":path}"  # the end of a route that only says that there is none


class RequestLog(Middleware):
    """Log what was asked and how it was answered: the route and never the path, and nothing that the caller wrote.

    Args:
        app: what it stands before.
        server_paths: fixed paths of routes that BentoML has.
    """

    def __init__(self, app: ASGIApp, server_paths: Collection[str] = ()) -> None:
        super().__init__(app)
        self._server_paths = frozenset(server_paths)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log it when it has been answered."""
        exchange, start = exchange_of(scope), time.perf_counter()

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            level = logging.DEBUG if scope["path"] in OPEN else logging.INFO  # probes come every few seconds for ever
            if log.isEnabledFor(level):
                log.log(level, "request", extra=self._line(scope, exchange, time.perf_counter() - start))

    def _line(self, scope: Scope, exchange: Exchange, seconds: float) -> dict[str, object]:
        line = {
            "request_id": exchange.request_id,
            "method": scope["method"] if scope["method"] in METHODS else OTHER,
            "route": self._route(scope),
            "status": exchange.status,  # 0: the caller went away
            "milliseconds": round(1000 * seconds, 2),
            "bytes_in": exchange.bytes_in,
            "key": exchange.key,
            "artifact": exchange.artifact,
            "images": exchange.images,
            "labels": exchange.labels,
            "code": exchange.code,
        }
        return {name: value for name, value in line.items() if value is not None}

    def _route(self, scope: Scope) -> str:
        path = getattr(scope.get("route"), "path", None)
        if isinstance(path, str) and not path.endswith(CATCH_ALL):
            return path
        return scope["path"] if scope["path"] in self._server_paths else OTHER
