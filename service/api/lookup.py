"""POST /v1/lookup."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request

from service.api.openapi import IMAGE_ERRORS, error, image_body
from service.api.requests import parse
from service.api.schemas import LookupRequest, LookupResponse
from service.engine import Engine
from service.settings import Settings


def routes(engine: Callable[[], Engine], settings: Settings) -> APIRouter:
    """The route, for an engine that is there once it has been loaded."""
    router = APIRouter()
    errors = IMAGE_ERRORS | error(404, "No vocabulary is served")

    @router.post("/v1/lookup", responses=errors, openapi_extra=image_body(LookupRequest))
    async def lookup(request: Request) -> LookupResponse:
        """Find the words of the served vocabulary that are nearest to images."""
        return await engine().lookup(await parse(request, LookupRequest, settings))

    return router
