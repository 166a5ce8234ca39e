"""The HTTP routes, as a FastAPI application that BentoML mounts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import cast

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from candor.errors import CandorError
from service.api import artifacts, calibration, classify, feedback, hf, label_sets, lookup
from service.api.docs import add_docs
from service.api.document import allowed_methods, describe
from service.engine import Engine
from service.errors import RETRY_SECONDS, ApiError, envelope
from service.guard.exchange import exchange_of
from service.guard.request_log import CATCH_ALL
from service.metrics import exposition
from service.refusals import refusals
from service.settings import Settings

log = logging.getLogger("candor.service")

EVERY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
# each module of service.api with a `routes(engine, settings)`
ROOMS = (classify, lookup, hf, label_sets, feedback, artifacts, calibration)


def create_app(settings: Settings) -> FastAPI:
    """The application; its engine is put into `app.state.engine` when the process has loaded it.

    Args:
        settings: of the service.
    """
    app = FastAPI(title="Candor", docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json", redirect_slashes=False)
    app.state.engine = None
    _add_error_handlers(app)

    def engine() -> Engine:
        if app.state.engine is None:
            raise ApiError(503, "the model is still loading; try again in a few seconds")
        return cast(Engine, app.state.engine)

    add_docs(app)
    for room in ROOMS:
        app.include_router(room.routes(engine, settings))

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> Response:
        """What the service counts, in Prometheus's text format."""
        running = app.state.engine  # loading is watched too
        content, media_type = exposition(running.collectors if running else ())
        return Response(content, media_type=media_type)

    @app.api_route("/v1/{path:path}", methods=EVERY_METHOD, include_in_schema=False)
    def unknown(path: str) -> None:
        methods = ", ".join(allowed_methods(app.openapi(), f"/v1/{path}"))
        if methods:
            raise HTTPException(405, f"/v1/{path[:100]} takes {methods}; see /v1/docs", {"Allow": methods})
        raise HTTPException(404, f"no such route: /v1/{path[:100]}; see /v1/docs")

    describe(app, settings)
    return app


def declared_paths(app: FastAPI) -> frozenset[str]:
    """The paths of all routes as they are declared, BentoML's own among them; not those that only say that there is none.

    Args:
        app: of `create_app`.
    """
    declared = {route.path for route in app.routes if isinstance(route, Route) and not route.path.endswith(CATCH_ALL)}
    return frozenset(declared | set(app.openapi()["paths"]))


def _add_error_handlers(app: FastAPI) -> None:
    # all async: Starlette calls others in threads, and `refusals` is for one event loop
    def refuse(
        status: int, message: str, field: str | None = None, headers: Mapping[str, str] | None = None
    ) -> JSONResponse:
        body = envelope(status, message, field)
        refusals.count(str(body["error"]["code"]))
        return JSONResponse(body, status, headers=headers)

    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> JSONResponse:
        seconds = error.retry_after or (RETRY_SECONDS if error.status == 503 else None)
        return refuse(error.status, error.message, error.field, {"Retry-After": str(seconds)} if seconds else None)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return refuse(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(CandorError)
    async def candor_error(_: Request, error: CandorError) -> JSONResponse:
        return refuse(422, str(error))

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody is there to read it

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("unexpected error", exc_info=error, extra={"request_id": exchange_of(request.scope).request_id})
        return refuse(500, "an unexpected error; it has been logged")
