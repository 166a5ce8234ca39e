"""The batch that BentoML's own clients send: items of many callers, each answered or refused by itself."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from candor.errors import CandorError
from service.api.requests import from_document
from service.api.schemas import ClassifyRequest
from service.engine import Engine
from service.errors import ApiError, envelope
from service.refusals import refusals
from service.settings import Settings

log = logging.getLogger("candor.service")

ROUTE = "/classify_batch"

Answer = dict[str, Any]


async def classify_items(engine: Engine, settings: Settings, items: list[Any]) -> list[Answer]:
    """Answers of items, in their order. BentoML joins the items of several callers, so none may fail another.

    Args:
        engine: that answers.
        settings: the limits.
        items: each what POST /v1/classify takes as JSON, with one image; whatever a caller sent, checked here.

    Returns:
        Of each item a result with the artifact that computed it, or `{"error": {"code", "message", "field"}}`.
    """
    return list(await asyncio.gather(*(_answer(engine, settings, item) for item in items)))


class JsonOnly:
    """Refuse what is not JSON before BentoML reads it: its reader of forms fails on broken ones, and fetches addresses.

    Args:
        app: BentoML's own routes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on but a batch that is not JSON."""
        if scope["type"] == "http" and scope["path"] == ROUTE and scope["method"] == "POST":
            content = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
            if content != "application/json":
                body = _refused(400, f"send application/json, not {content[:100] or 'no content type'!r}")
                await JSONResponse(body, 400)(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _answer(engine: Engine, settings: Settings, item: Any) -> Answer:
    try:
        return await _classified(engine, settings, item)
    except ApiError as error:
        return _refused(error.status, error.message, error.field)
    except CandorError as error:
        return _refused(422, str(error))
    except Exception:  # a fault of ours in one item is not its neighbours' either
        log.exception("unexpected error in an item of /classify_batch")
        return _refused(500, "an unexpected error; it has been logged")


async def _classified(engine: Engine, settings: Settings, item: Any) -> Answer:
    request = from_document(item, ClassifyRequest, settings)
    if len(request.images) > 1:
        raise ApiError(422, "an item has one image; send one item an image", "images")
    answer = await engine.classify(request)
    result: Answer = answer["results"][0]
    return result if "error" in result else {"artifact": answer["artifact"], **result}


def _refused(status: int, message: str, field: str | None = None) -> Answer:
    answer = envelope(status, message, field)
    refusals.count(str(answer["error"]["code"]))
    return answer
