"""POST /v1/classify."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from service.api.answers import json_response
from service.api.noted import note
from service.api.openapi import IMAGE_ERRORS, error, image_body
from service.api.requests import parse
from service.api.schemas import ClassifyRequest, ClassifyResponse
from service.engine import Engine
from service.settings import Settings


def routes(engine: Callable[[], Engine], settings: Settings) -> APIRouter:
    """The route, for an engine that is there once it has been loaded."""
    router = APIRouter()

    @router.post(
        "/v1/classify",
        response_model=ClassifyResponse,
        responses=IMAGE_ERRORS | error(404, "No such label set"),
        openapi_extra=image_body(ClassifyRequest),
    )
    async def classify(request: Request) -> Response:
        """Classify images among labels of your choice, with calibrated confidence, and say if they show any of them."""
        answer = await engine().classify(await parse(request, ClassifyRequest, settings))
        note(request.scope, answer)
        return json_response(answer)

    return router
