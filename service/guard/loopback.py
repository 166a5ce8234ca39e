"""Without keys only this machine is served; where others are, they may do less."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ApiError
from service.guard.access import OPEN, READING, may
from service.guard.middleware import Middleware, header

FORWARDING = frozenset(
    {
        *(b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"cf-connecting-ip", b"true-client-ip"),
        *(b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto"),
    }
)
SET_KEYS = "make a key (candor keys add NAME --file FILE) and set CANDOR_KEYS=FILE"
ADVICE = f"{SET_KEYS}, or set CANDOR_ALLOW_ANONYMOUS=true"
FOREIGN_PAGE = "pages of this origin may not ask; see CANDOR_CORS_ORIGINS"


class LoopbackOnly(Middleware):
    """Refuse whoever is not on this machine, and web pages that make a browser on this machine ask for them.

    The client's address is not enough. A proxy on this machine asks for others: its requests are known by their headers, if
    it adds any (uvicorn believes X-Forwarded-For from loopback, so the address itself may be invented). A page of another
    site reaches loopback through the browser, by a name of its own that points here (the Host header tells) or openly
    (Origin tells).

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
        objection = self._objection(scope)
        if objection is not None:
            raise ApiError(403, objection)

    def _objection(self, scope: Scope) -> str | None:
        """Why a request is not taken for one of this machine."""
        client = scope.get("client")
        if not client or not is_loopback(client[0]) or any(name in FORWARDING for name, _ in scope["headers"]):
            return f"without keys only clients on the same machine are served, not through a proxy; {ADVICE}"
        host = (header(scope, b"host") or b"").decode("latin-1")
        if not is_loopback(_name_of(f"//{host}")):
            return f"without keys the Host must be a loopback name, such as localhost; {ADVICE}"
        return FOREIGN_PAGE if self._of_foreign_page(scope) else None

    def _of_foreign_page(self, scope: Scope) -> bool:
        sent = header(scope, b"origin")
        if sent is None:
            return False
        origin = sent.decode("latin-1")
        return not (origin in self._origins or "*" in self._origins or is_loopback(_name_of(origin)))


class Anonymous(LoopbackOnly):
    """Serve everybody without keys: others than this machine as if with a key of the role "api", so never as an admin.

    Pages of foreign origins may only read, and the browser keeps the answer from them.
    """

    def _check(self, scope: Scope) -> None:
        if self._objection(scope) is None:
            return
        if scope["method"] not in READING and self._of_foreign_page(scope):
            raise ApiError(403, FOREIGN_PAGE)
        if not may("api", scope["method"], scope["path"]):
            raise ApiError(403, f"without keys only clients on the same machine may do this; {SET_KEYS}")


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
