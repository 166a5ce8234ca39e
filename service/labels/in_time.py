"""How long a caller waits for labels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.errors import ApiError


@asynccontextmanager
async def in_time(deadline: float) -> AsyncIterator[None]:
    """Give up what the block waits for when its time is over. What was encoded until then is kept.

    Args:
        deadline: on the event loop's clock.

    Raises:
        ApiError: 503.
    """
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError as error:
        message = "the labels were not encoded in time; try again in a moment, and it goes on from there"
        raise ApiError(503, message, retry_after=1) from error
