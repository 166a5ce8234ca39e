"""Which web pages of other origins may ask."""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from service.errors import envelope

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
ASKED_WITH = ("Authorization", "Content-Type", "X-API-Key", "X-Request-ID")
SHOWN = ("X-Request-ID", "X-Candor-Artifact", "Retry-After")


class Cors(CORSMiddleware):
    """Starlette's, with our error envelope. It stands before the keys: a preflight carries none, an error must be readable.

    Args:
        app: what it stands before.
        origins: that may ask; "*" is all.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(app, origins, METHODS, ASKED_WITH, expose_headers=SHOWN)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Whether a page may ask what it wants to ask."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        message = f"{bytes(response.body).decode()}; see CANDOR_CORS_ORIGINS"
        return JSONResponse(envelope(response.status_code, message), response.status_code, headers=headers)
