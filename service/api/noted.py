"""What the log may know of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from service.guard.exchange import exchange_of


def note(request: Request, answer: Mapping[str, Any]) -> None:
    """Note the artifact of an answer, and how many images and labels it is about.

    Args:
        request: that is answered.
        answer: `schemas.ClassifyResponse` or `schemas.LookupResponse` as plain data.
    """
    exchange, results = exchange_of(request.scope), answer["results"]
    exchange.artifact, exchange.images = answer.get("artifact"), len(results)
    exchange.labels = next((result["label_set"]["size"] for result in results if "label_set" in result), None)
