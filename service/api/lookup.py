"""POST /v1/lookup."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from service.api.answers import json_response
from service.api.noted import note
from service.api.openapi import IMAGE_ERRORS, error, image_body
from service.api.requests import parse
from service.api.schemas import LookupRequest, LookupResponse
from service.engine import Engine
from service.settings import Settings


def routes(engine: Callable[[], Engine], settings: Settings) -> APIRouter:
    """The route, for an engine that is there once it has been loaded."""
    router = APIRouter()
    errors = IMAGE_ERRORS | error(404, "No vocabulary is served")

    @router.post("/v1/lookup", response_model=LookupResponse, responses=errors, openapi_extra=image_body(LookupRequest))
    async def lookup(request: Request) -> Response:
        """Find the words of the served vocabulary that are nearest to images."""
        answer = await engine().lookup(await parse(request, LookupRequest, settings))
        note(request.scope, answer)
        return json_response(answer)

    return router
