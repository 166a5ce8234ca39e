"""Requests a time, by key; by address where there are no keys."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from ipaddress import IPv6Address, IPv6Network

from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ApiError
from service.guard.access import UNLIMITED
from service.guard.exchange import exchange_of
from service.guard.loopback import parse_address
from service.guard.middleware import Middleware

MAX_CALLERS = 2048  # whose requests are remembered; limits' storage forgets times, but never a caller


class RateLimit(Middleware):
    """Refuse with 429 who asks more often than allowed. A request with several images counts once; so does a refused body.

    Args:
        app: what it stands before.
        limit: requests a time, for each caller, in a moving window.
    """

    def __init__(self, app: ASGIApp, limit: RateLimitItem) -> None:
        super().__init__(app)
        self._limit = limit
        self._storage = MemoryStorage()
        self._limiter = MovingWindowRateLimiter(self._storage)
        self._callers: OrderedDict[str, None] = OrderedDict()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the request."""
        if scope["path"] not in UNLIMITED:
            self._count(_caller(scope))
        await self._app(scope, receive, send)

    def _count(self, caller: str) -> None:
        self._remember(caller)
        if self._limiter.hit(self._limit, caller):
            return
        left = self._limiter.get_window_stats(self._limit, caller).reset_time - time.time()
        seconds = max(1, math.ceil(left))
        raise ApiError(429, f"more than {self._limit}; try again in {seconds} s", retry_after=seconds)

    def _remember(self, caller: str) -> None:
        self._callers[caller] = None
        self._callers.move_to_end(caller)
        if len(self._callers) > MAX_CALLERS:
            self._storage.clear(self._limit.key_for(self._callers.popitem(last=False)[0]))


def _caller(scope: Scope) -> str:
    """Who asks. One subscriber owns a whole /64 of IPv6, so that counts as one."""
    key = exchange_of(scope).key
    if key is not None:
        return f"key {key}"
    client = scope.get("client")
    address = parse_address(client[0]) if client else None
    return str(IPv6Network((address, 64), strict=False) if isinstance(address, IPv6Address) else address)
