"""Items of many callers, run together."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.batching.watch import UNWATCHED, Watch
from service.errors import ApiError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

log = logging.getLogger("candor.service")


@dataclass(eq=False)
class _Waiting(Generic[Item, Answer]):
    item: Item
    answer: asyncio.Future[Answer]
    deadline: float  # of the event loop's clock, as is `since`
    since: float
    begun: bool = False

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)


@dataclass(frozen=True)
class _Failed:
    error: Exception


class MicroBatcher(Generic[Item, Answer]):
    """Runs items of many callers in batches, one batch at a time, in the order they came. For one event loop at a time.

    An idle batcher runs at once what it is given; what comes while it works is the next batch. So one caller never waits
    for others, and many callers fill batches by themselves. Callers that have just been answered tend to come back: right
    after a batch it waits `max_wait` at most until as many are there as were then, and so finds them all together.

    Args:
        run: a batch to one answer an item; called in `executor`.
        executor: whose thread is the model's.
        max_batch: items in one run.
        max_queue: items that wait at most; more are refused.
        max_wait: seconds.

    Attributes:
        max_batch: as given; may be changed at any time.
        watch: hears of each batch.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Answer]],
        executor: Executor,
        max_batch: int,
        max_queue: int,
        max_wait: float = 0,
    ) -> None:
        self._run, self._executor = run, executor
        self.watch: Watch = UNWATCHED
        self.max_batch, self._max_queue, self._max_wait = max_batch, max_queue, max_wait
        self._closed, self._batch_seconds = False, 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: asyncio.Task[None] | None = None
        self._queue: deque[_Waiting[Item, Answer]] = deque()
        self._arrived = asyncio.Event()
        self._expected, self._ended = 1, -math.inf

    async def submit(self, items: Sequence[Item], deadline: float = math.inf) -> list[Answer]:
        """The answers of some items, in their order.

        Args:
            items: any number; they may come into different batches.
            deadline: on the event loop's clock; what has not begun by then is refused.

        Raises:
            ApiError: 503 where the queue is full, the deadline passed, or the batcher is closed.
            Exception: what `run` raised for an item by itself. The caller's other items are then given up.
        """
        loop = asyncio.get_running_loop()
        self._enter(loop)
        self._refuse_or_take(len(items))
        waiting = [_Waiting(item, loop.create_future(), deadline, loop.time()) for item in items]
        timer = loop.call_at(deadline, _expire, waiting) if deadline < math.inf else None
        self._queue.extend(waiting)
        self._arrived.set()
        if self._worker is None and waiting:
            self._worker = loop.create_task(self._work(loop))
        try:
            return list(await asyncio.gather(*(w.answer for w in waiting)))
        finally:
            if timer is not None:
                timer.cancel()
            for w in waiting:
                w.answer.cancel()

    async def close(self) -> None:
        """Refuse what comes from now on, and wait until all that was taken is answered."""
        self._closed = True
        if self._loop is asyncio.get_running_loop() and self._worker is not None:
            await asyncio.wait([self._worker])

    def _enter(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin anew in another event loop: what waited in an old one has nobody left who listens."""
        if self._loop is not loop:
            self._loop, self._worker, self._arrived = loop, None, asyncio.Event()
            self._queue.clear()
            self._expected, self._ended = 1, -math.inf

    def _refuse_or_take(self, number: int) -> None:
        if self._closed:
            raise ApiError(503, "the service is shutting down; try again in a moment", retry_after=5)
        if self._queue and len(self._queue) + number > self._max_queue:
            self._queue = deque(w for w in self._queue if not w.answer.done())
        if self._queue and len(self._queue) + number > self._max_queue:
            seconds = len(self._queue) / self.max_batch * self._batch_seconds
            raise ApiError(
                503, "too many images wait for the model; try again in a moment", retry_after=max(1, math.ceil(seconds))
            )

    async def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while self._queue:
                await self._company(loop)
                if batch := self._next_batch(loop):
                    await self._answer(loop, batch)
        finally:
            if self._loop is loop:
                self._worker = None

    async def _company(self, loop: asyncio.AbstractEventLoop) -> None:
        until = self._ended + self._max_wait
        while len(self._queue) < min(self._expected, self.max_batch) and loop.time() < until:
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._arrived.wait()

    def _next_batch(self, loop: asyncio.AbstractEventLoop) -> list[_Waiting[Item, Answer]]:
        batch: list[_Waiting[Item, Answer]] = []
        while self._queue and len(batch) < self.max_batch:
            waiting = self._queue.popleft()
            if waiting.deadline <= loop.time():
                _expire([waiting])
            if not waiting.answer.done():  # nor is anybody gone who asked
                waiting.begun = True
                batch.append(waiting)
        return batch

    async def _answer(self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting[Item, Answer]]) -> None:
        started = loop.time()
        try:
            outcomes, seconds = await loop.run_in_executor(self._executor, self._timed, [w.item for w in batch])
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, _Failed):
                    waiting.fail(outcome.error)
                elif not waiting.answer.done():
                    waiting.answer.set_result(outcome)
            self._ended = loop.time()
            self._batch_seconds = self._ended - started
            self._expected = len(batch) + len(self._queue)
            self.watch.image_batch(len(batch))
            self.watch.stage("encode", seconds)
            for waiting in batch:
                self.watch.stage("queue", started - waiting.since)
        except Exception as error:  # whatever it is, the next batch has another chance
            log.exception("a batch could not be run")
            for waiting in batch:
                waiting.fail(error)

    def _timed(self, items: list[Item]) -> tuple[list[Answer | _Failed], float]:
        started = time.perf_counter()
        return self._outcomes(items), time.perf_counter() - started

    def _outcomes(self, items: list[Item]) -> list[Answer | _Failed]:
        """One outcome an item; where the batch fails, each is run by itself, so that only the guilty one fails."""
        try:
            answers = list(self._run(items))
        except Exception as error:
            if len(items) == 1:
                return [_Failed(error)]
            log.warning("a batch of %d failed with %s; its items run one by one", len(items), type(error).__name__)
            return [outcome for item in items for outcome in self._outcomes([item])]
        if len(answers) != len(items):
            return [_Failed(RuntimeError(f"{len(answers)} answers for {len(items)} items")) for _ in items]
        return list(answers)


def _expire(waiting: Sequence[_Waiting[Item, Answer]]) -> None:
    for w in waiting:
        if not w.begun:
            w.fail(ApiError(503, "the image waited too long for the model; try again in a moment", retry_after=1))
