"""The least that a service of this shape costs: BentoML, a mounted route, a body that is read, a constant answer."""

from __future__ import annotations

import bentoml
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

app = FastAPI(openapi_url=None)


@app.post("/v1/classify")
async def empty(request: Request) -> JSONResponse:
    """Read the body, and answer what has nothing to do with it."""
    await request.body()
    return JSONResponse({"results": []})


@bentoml.asgi_app(app, path="/")
@bentoml.service(name="empty", workers=1, metrics={"enabled": False})
class Empty:
    """No model, no labels: the baseline of `candor bench serve`."""
