"""What the log may know of an answer."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from service.guard.exchange import exchange_of


def note(scope: MutableMapping[str, Any], answer: Mapping[str, Any], labels: int | None = None) -> None:
    """Note the artifact of an answer, and how many images and labels it is about.

    Args:
        scope: of the request that is answered.
        answer: an artifact and results, such as `schemas.ClassifyResponse` or `schemas.LookupResponse` as plain data.
        labels: how many; None takes it from the results, where they say it.
    """
    exchange, results = exchange_of(scope), answer["results"]
    exchange.artifact, exchange.images = answer.get("artifact"), len(results)
    said = (result["label_set"]["size"] for result in results if "label_set" in result)
    exchange.labels = next(said, None) if labels is None else labels
