"""Without keys only this machine is served."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ApiError
from service.guard.access import OPEN
from service.guard.middleware import Middleware, header

FORWARDING = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})
ADVICE = "make a key (candor keys add NAME --file FILE) and set CANDOR_KEYS=FILE, or set CANDOR_ALLOW_ANONYMOUS=true"


class LoopbackOnly(Middleware):
    """Refuse whoever is not on this machine, and web pages that make a browser on this machine ask for them.

    The client's address is not enough. A proxy on this machine asks for others: its requests are known by their headers
    (uvicorn believes X-Forwarded-For from loopback, so the address itself may be invented). A page of another site reaches
    loopback through the browser, by a name of its own that points here (the Host header tells) or openly (Origin tells).

    Args:
        app: what it stands before.
        origins: that pages may ask from, as CORS allows them.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str] = ()) -> None:
        super().__init__(app)
        self._origins = frozenset(origins)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what comes from this machine."""
        if scope["path"] not in OPEN:
            self._check(scope)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        client = scope.get("client")
        if not client or not is_loopback(client[0]) or any(name in FORWARDING for name, _ in scope["headers"]):
            raise ApiError(403, f"without keys only clients on the same machine are served, not through a proxy; {ADVICE}")
        host = (header(scope, b"host") or b"").decode("latin-1")
        if not is_loopback(_name_of(f"//{host}")):
            raise ApiError(403, f"without keys the Host must be a loopback name, such as localhost; {ADVICE}")
        origin = header(scope, b"origin")
        if origin is not None and not self._may_ask(origin.decode("latin-1")):
            raise ApiError(403, "pages of this origin may not ask; see CANDOR_CORS_ORIGINS")

    def _may_ask(self, origin: str) -> bool:
        return origin in self._origins or "*" in self._origins or is_loopback(_name_of(origin))


def is_loopback(host: str) -> bool:
    """Whether an address or a host's name is this machine's own."""
    if host.lower() == "localhost":
        return True
    address = parse_address(host)
    return address is not None and address.is_loopback


def parse_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address of a host that is given as one; of an IPv4 one in IPv6's clothes, the IPv4 one."""
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _name_of(url: str) -> str:
    """The host of a URL, without its port; empty where there is none."""
    try:
        parts = urlsplit(url)
        return "" if "@" in parts.netloc else (parts.hostname or "")
    except ValueError:
        return ""
