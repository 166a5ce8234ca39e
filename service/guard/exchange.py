"""What is known of one request while it is answered: written by whoever learns it, read by the log."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, cast

from service.errors import ApiError


@dataclass(slots=True)
class Exchange:
    """One request and its answer. Nothing in it is taken from a body, a query or a header but the request id.

    Attributes:
        request_id: the caller's, where it is a plain one, or ours.
        key: name of the key it came with.
        artifact: tag of what answered it.
        images, labels: how many it held.
        bytes_in: of its body, as far as it was read.
        status: of the answer; 0 while there is none.
        code: of the error envelope that was made and counted for it.
        refusal: why it is refused, where that was found while its body was read; it outdoes what the route says then.
    """

    request_id: str = ""
    key: str | None = None
    artifact: str | None = None
    images: int | None = None
    labels: int | None = None
    bytes_in: int = 0
    status: int = 0
    code: str | None = None
    refusal: ApiError | None = None


def exchange_of(scope: MutableMapping[str, Any]) -> Exchange:
    """The exchange of an ASGI scope (`exchange_of(request.scope)` in a route); a new one where no guard stands before."""
    state = scope.setdefault("state", {})
    if "exchange" not in state:
        state["exchange"] = Exchange()
    return cast(Exchange, state["exchange"])
