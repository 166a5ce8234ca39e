"""Threads that decode images, so many at a time that memory is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.errors import ApiError

R = TypeVar("R")


class DecodePool:
    """Runs work of many callers in a few threads, so that few images exist at once.

    Decoding takes up to about 20 bytes a pixel (`candor.images`): for an image of 50 megapixels 1 GB in each thread.

    Args:
        threads: that work.
        most: pieces of work that wait or run; more are refused.
    """

    def __init__(self, threads: int, most: int) -> None:
        self._executor = ThreadPoolExecutor(threads, "decode")
        self._most, self._taken = most, 0

    async def run(self, work: Callable[[], R], deadline: float = float("inf")) -> R:
        """What some work returns.

        Args:
            work: called in a thread, unless its caller has gone before.
            deadline: on the event loop's clock.

        Raises:
            ApiError: 503 where too much waits, or the deadline passed.
        """
        if self._taken >= self._most:
            raise ApiError(503, "too many images wait to be decoded; try again in a moment", retry_after=1)
        self._taken += 1
        try:
            async with asyncio.timeout_at(None if deadline == float("inf") else deadline) as limit:
                return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ApiError(503, "the image was not decoded in time; try again in a moment", retry_after=1) from error
        finally:
            self._taken -= 1
