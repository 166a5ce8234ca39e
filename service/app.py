"""The HTTP routes, as a FastAPI application that BentoML mounts."""

from __future__ import annotations

import logging
from typing import cast

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from candor.errors import CandorError
from service.api import classify, lookup
from service.api.requests import BodyLimit
from service.engine import Engine
from service.errors import ApiError, envelope
from service.metrics import exposition
from service.settings import Settings

log = logging.getLogger("candor.service")

ROUTES = (classify.routes, lookup.routes)  # each module of service.api with a `routes(engine, settings)`


def create_app(settings: Settings) -> FastAPI:
    """The application; its engine is put into `app.state.engine` when the process has loaded it.

    Args:
        settings: of the service.
    """
    app = FastAPI(title="Candor", docs_url="/v1/docs", redoc_url=None, openapi_url="/v1/openapi.json")
    app.state.engine = None
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    _add_error_handlers(app)

    def engine() -> Engine:
        if app.state.engine is None:
            raise ApiError(503, "the model is still loading; try again in a few seconds")
        return cast(Engine, app.state.engine)

    for routes in ROUTES:
        app.include_router(routes(engine, settings))

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        content, media_type = exposition()
        return Response(content, media_type=media_type)

    @app.api_route("/v1/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def unknown(path: str) -> None:
        status = 405 if f"/v1/{path}" in app.openapi()["paths"] else 404
        raise HTTPException(status, f"no such route: /v1/{path[:100]}; see /v1/docs")

    return app


def _add_error_handlers(app: FastAPI) -> None:
    def refuse(status: int, message: str, field: str | None = None) -> JSONResponse:
        body = envelope(status, message, field)
        if app.state.engine is not None:
            app.state.engine.metrics.rejected(body["error"]["code"])
        return JSONResponse(body, status, headers={"Retry-After": "5"} if status == 503 else None)

    @app.exception_handler(ApiError)
    def api_error(_: Request, error: ApiError) -> JSONResponse:
        return refuse(error.status, error.message, error.field)

    @app.exception_handler(HTTPException)
    def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return refuse(error.status_code, str(error.detail))

    @app.exception_handler(CandorError)
    def candor_error(_: Request, error: CandorError) -> JSONResponse:
        return refuse(422, str(error))

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
        return refuse(500, "an unexpected error; it has been logged")
