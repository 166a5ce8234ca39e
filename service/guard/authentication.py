"""Where keys are set, every request shows one that may do what it asks for."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ApiError
from service.guard.access import may, needs_key
from service.guard.exchange import exchange_of
from service.guard.key_file import KeyFile
from service.guard.keys import recognise
from service.guard.middleware import Middleware


class RequireKey(Middleware):
    """Refuse requests without a key that is known (401) or that may do it (403), but for what `access` leaves open.

    Args:
        app: what it stands before.
        keys: that are known.
    """

    def __init__(self, app: ASGIApp, keys: KeyFile) -> None:
        super().__init__(app)
        self._keys = keys

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Recognise the key, and note its name."""
        if needs_key(scope["method"], scope["path"]):
            key = recognise(self._keys.current(), presented(scope))
            if key is None:
                raise ApiError(401, "a valid key is needed: send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
            exchange_of(scope).key = key.name
            if not may(key.role, scope["method"], scope["path"]):
                raise ApiError(403, f"the key {key.name!r} has the role {key.role!r}, which may not do this")
        await self._app(scope, receive, send)


def presented(scope: Scope) -> Iterator[bytes]:
    """Whatever a request shows as a key."""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            yield value
        elif name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() == b"bearer":
                yield key.strip()
