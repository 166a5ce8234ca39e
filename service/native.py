"""The batch that BentoML's own clients send: items of many callers, each answered or refused by itself."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from candor.errors import CandorError
from service.api.amounts import check_json, check_number, most_values
from service.api.requests import from_document, media_type
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
    """Refuse what is not JSON, and too many items, before BentoML reads it.

    Its reader of forms fails on broken ones, and fetches addresses; and it has no limit of the items of one caller.

    Args:
        app: BentoML's own routes.
        settings: the limits.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on but a batch that is not JSON, or too large."""
        if scope["type"] != "http" or scope["path"] != ROUTE or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            if (content := media_type(request)) != "application/json":
                raise ApiError(400, f"send application/json, not {content[:100] or 'no content type'!r}")
            body = await request.body()
            _check_items(body, self._settings)
        except ApiError as error:
            answer = _refused(error.status, error.message, error.field)
            await JSONResponse(answer, error.status)(scope, receive, send)
        except ClientDisconnect:
            return
        else:
            await self._app(scope, _again(body, receive), send)


def _check_items(body: bytes, settings: Settings) -> None:
    check_json(body, settings, "items", settings.max_images * most_values(settings))
    try:
        document = from_json(body)
    except ValueError as error:
        raise ApiError(400, "the body is not JSON") from error
    items = document.get("items") if isinstance(document, dict) else None
    if isinstance(items, list):  # whatever else it is, BentoML refuses
        check_number(len(items), settings.max_images, "items")


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` for a body that has been read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


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
