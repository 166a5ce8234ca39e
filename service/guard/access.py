"""Who may do what: the only place that says so."""

from __future__ import annotations

import posixpath
from typing import Literal, get_args

Role = Literal["api", "admin", "metrics"]

ROLES: tuple[Role, ...] = get_args(Role)
OPEN = frozenset({"/livez", "/readyz", "/healthz"})  # orchestrators have no key; these say nothing but alive or ready
DOCS = frozenset(  # a browser that opens the page sends no key; it says what any user of the service may know
    {
        "/v1/docs",
        "/v1/openapi.json",
        "/v1/docs-files/swagger-ui.css",
        "/v1/docs-files/swagger-ui-bundle.js",
        "/v1/docs-files/favicon.png",
    }
)
METRICS = "/metrics"
FIGURES = frozenset({METRICS, "/v1/calibration"})  # how the service does, and how often it is right: not for every caller
UNLIMITED = OPEN | {METRICS}  # a service that is overloaded or misused must still be seen to be
READING = frozenset({"GET", "HEAD", "OPTIONS"})
ADMIN_ROOMS = (("v1", "artifacts"),)  # whatever changes something under these paths


def needs_key(method: str, path: str) -> bool:
    """Whether only a key gives access, where there are keys. Nothing is open but what is listed, spelled as it is there.

    Args:
        method: of the request.
        path: of the request, decoded, as the router sees it.
    """
    return path not in OPEN and not (method == "GET" and path in DOCS)


def may(role: Role, method: str, path: str) -> bool:
    """Whether a key may do something. A path that no route has may be asked for: the answer is 404.

    Args:
        role: of the key.
        method: of the request.
        path: of the request, decoded, as the router sees it.
    """
    if role == "admin":
        return True
    if role == "metrics":
        return path in FIGURES and method in READING
    return path not in FIGURES and (method in READING or not _for_admins(path))


def _for_admins(path: str) -> bool:
    """Whether a path leads to an admin's room, however it is spelled: stricter than the router, never laxer."""
    parts = tuple(part for part in posixpath.normpath(path).casefold().split("/") if part)
    return any(parts[: len(room)] == room for room in ADMIN_ROOMS)
