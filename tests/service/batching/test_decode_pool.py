"""Work in threads: so much at once, so much in the queue, in time or not at all."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from service.batching.decode_pool import DecodePool
from service.errors import ApiError


class Work:
    def __init__(self, seconds: float) -> None:
        self.seconds, self.running, self.most, self.done = seconds, 0, 0, 0
        self._lock = threading.Lock()

    def __call__(self) -> int:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(self.seconds)
        with self._lock:
            self.running -= 1
            self.done += 1
        return self.done


def test_so_many_at_once_and_the_event_loop_goes_on() -> None:
    work = Work(0.02)

    async def main() -> tuple[list[int], int]:
        pool, ticks = DecodePool(3, 100), 0
        jobs = asyncio.gather(*(pool.run(work) for _ in range(12)))
        while not jobs.done():
            await asyncio.sleep(0.001)
            ticks += 1
        return await jobs, ticks

    answers, ticks = asyncio.run(main())
    assert sorted(answers) == list(range(1, 13))
    assert work.most == 3
    assert ticks > 10


def test_a_full_pool_refuses_until_somebody_is_done() -> None:
    work = Work(0.02)

    async def main() -> int:
        pool = DecodePool(1, 2)
        taken = [asyncio.create_task(pool.run(work)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="decoded") as caught:
            await pool.run(work)
        assert (caught.value.status, caught.value.retry_after) == (503, 1)
        await taken[0]
        return await pool.run(work)

    assert asyncio.run(main()) == 3


def test_what_has_no_time_left_or_no_caller_is_never_done() -> None:
    work = Work(0.05)

    async def main() -> None:
        pool = DecodePool(1, 100)
        first = asyncio.create_task(pool.run(work))
        gone = asyncio.create_task(pool.run(work))
        await asyncio.sleep(0.01)
        gone.cancel()
        started = time.perf_counter()
        with pytest.raises(ApiError, match="in time") as caught:
            await pool.run(work, asyncio.get_running_loop().time() + 0.01)
        assert time.perf_counter() - started < 0.035
        assert caught.value.status == 503
        assert await first == 1
        await asyncio.sleep(0.1)

    asyncio.run(main())
    assert work.done == 1


def test_errors_of_the_work_are_the_callers() -> None:
    def fails() -> None:
        raise TimeoutError("of the work itself")

    async def main() -> None:
        pool = DecodePool(1, 1)
        for _ in range(3):  # and its place is free again
            with pytest.raises(TimeoutError, match="of the work itself"):
                await pool.run(fails, asyncio.get_running_loop().time() + 5)

    asyncio.run(main())
