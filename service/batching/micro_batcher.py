"""Items of many callers, run together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.errors import ApiError

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Waiting(Generic[Item, Answer]):
    item: Item
    answer: asyncio.Future[Answer]
    deadline: float  # of the event loop's clock


class MicroBatcher(Generic[Item, Answer]):
    """Runs items of many callers in batches, one batch at a time. For one event loop.

    An idle batcher runs at once what it is given; what comes while it works is the next batch. So one caller never waits
    for others, and many callers fill batches by themselves.

    Args:
        run: a batch to one answer an item; called in `executor`.
        executor: whose thread is the model's.
        max_batch: items in one run.
        max_queue: items that wait at most; more are refused.
    """

    def __init__(
        self, run: Callable[[list[Item]], Sequence[Answer]], executor: Executor, max_batch: int, max_queue: int
    ) -> None:
        self._run, self._executor, self._max_batch, self._max_queue = run, executor, max_batch, max_queue
        self._queue: deque[_Waiting[Item, Answer]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, items: Sequence[Item], deadline: float = float("inf")) -> list[Answer]:
        """The answers of some items, in their order.

        Args:
            items: at most `max_queue`.
            deadline: on the event loop's clock; what has not begun by then is refused.

        Raises:
            ApiError: 503 where the queue is full, or the deadline passed.
        """
        loop = asyncio.get_running_loop()
        if len(self._queue) + len(items) > self._max_queue:
            raise ApiError(503, "too many images wait for the model; try again in a moment")
        waiting = [_Waiting(item, loop.create_future(), deadline) for item in items]
        self._queue.extend(waiting)
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return list(await asyncio.gather(*(w.answer for w in waiting)))

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(self._max_batch, len(self._queue)))]
            answers = await loop.run_in_executor(self._executor, self._run, [w.item for w in batch])
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
        self._worker = None
