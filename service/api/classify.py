"""POST /v1/classify."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request

from service.api.openapi import IMAGE_ERRORS, image_body
from service.api.requests import parse
from service.api.schemas import ClassifyRequest, ClassifyResponse
from service.engine import Engine
from service.settings import Settings


def routes(engine: Callable[[], Engine], settings: Settings) -> APIRouter:
    """The route, for an engine that is there once it has been loaded."""
    router = APIRouter()

    @router.post("/v1/classify", responses=IMAGE_ERRORS, openapi_extra=image_body(ClassifyRequest))
    async def classify(request: Request) -> ClassifyResponse:
        """Classify images among labels of your choice, with calibrated confidence, and say if they show any of them."""
        return await engine().classify(await parse(request, ClassifyRequest, settings))

    return router
