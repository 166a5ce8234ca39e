"""Every request in the metrics, whatever becomes of it."""

from __future__ import annotations

import time
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from service.guard.exchange import exchange_of
from service.guard.middleware import Middleware
from service.metrics.requests import RequestMetrics, request_metrics


class RequestCounts(Middleware):
    """Count a request with its route, its status and its time. Outside of `RequestLog`, which notes the status.

    Args:
        app: what it stands before.
        routes: that are told apart, as they are declared; whatever else is asked for counts as one.
        metrics: what counts; None takes those of this process.
    """

    def __init__(self, app: ASGIApp, routes: Collection[str] = (), metrics: RequestMetrics | None = None) -> None:
        super().__init__(app)
        self._metrics = metrics or request_metrics()
        self._metrics.prepare(routes)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it when it has been answered."""
        exchange, start = exchange_of(scope), time.perf_counter()
        try:
            await self._app(scope, receive, send)
        finally:
            # what was refused before it came to a route counts where it was to go, if that can be told by its path alone
            route = getattr(scope.get("route"), "path", None) or scope["path"]
            self._metrics.count(route, exchange.status, time.perf_counter() - start)
