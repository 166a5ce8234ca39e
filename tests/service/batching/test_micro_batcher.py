"""Every submit ends; every answer belongs to its item; one batch at a time, never too large, in the order of arrival."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching.micro_batcher import MicroBatcher
from service.errors import ApiError

GUILTY = 13


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:  # more than one: the batcher itself must run one batch at a time
        yield executor


class Doubling:
    """Doubles numbers, slowly; notes what it was given, and whether two batches ever ran at once."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.batches, self.overlapped = seconds, list[list[int]](), False
        self._busy = threading.Lock()

    def __call__(self, items: list[int]) -> list[int]:
        self.overlapped |= not self._busy.acquire(blocking=False)
        try:
            self.batches.append(list(items))
            time.sleep(self.seconds)
            if any(item % 100 == GUILTY for item in items):
                raise ValueError(f"guilty among {items}")
            return [2 * item for item in items]
        finally:
            self._busy.release()

    @property
    def seen(self) -> list[int]:
        return [item for batch in self.batches for item in batch]


class Heard:
    def __init__(self) -> None:
        self.sizes, self.stages = list[int](), list[tuple[str, float]]()

    def image_batch(self, size: int) -> None:
        self.sizes.append(size)

    def stage(self, stage: str, seconds: float) -> None:
        self.stages.append((stage, seconds))


def refused(outcome: object) -> bool:
    return isinstance(outcome, ApiError) and outcome.status == 503


def test_what_comes_while_a_batch_runs_is_the_next_one(executor: ThreadPoolExecutor) -> None:
    run = Doubling(0.02)

    async def main() -> list[list[int]]:
        batcher = MicroBatcher(run, executor, 4, 100)
        first = asyncio.create_task(batcher.submit([1]))
        await asyncio.sleep(0.005)
        return await asyncio.gather(first, batcher.submit([2, 3]), batcher.submit([4, 5, 6]), batcher.submit([]))

    assert asyncio.run(main()) == [[2], [4, 6], [8, 10, 12], []]
    assert run.batches == [[1], [2, 3, 4, 5], [6]]


def test_only_the_guilty_item_fails(executor: ThreadPoolExecutor) -> None:
    run = Doubling()

    async def main() -> Sequence[object]:
        batcher = MicroBatcher(run, executor, 8, 100)
        calls = [batcher.submit([item]) for item in (1, GUILTY, 2, 100 + GUILTY, 3)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        return [*found, await batcher.submit([7])]

    one, guilty, two, other, three, after = asyncio.run(main())
    assert [one, two, three, after] == [[2], [4], [6], [14]]
    assert [str(error) for error in (guilty, other)] == ["guilty among [13]", "guilty among [113]"]
    assert run.batches == [[1, 13, 2, 113, 3], [1], [13], [2], [113], [3], [7]]


def stop(items: list[int]) -> list[int]:
    raise StopIteration("an asyncio future does not take this one")


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda items: items[:-1], "2 answers for 3 items"),
        (lambda items: [*items, 0], "4 answers for 3 items"),
        (lambda items: None, "'NoneType' object is not iterable"),
        (stop, "StopIteration"),
    ],
)
def test_a_run_that_is_defect_reaches_every_caller(
    executor: ThreadPoolExecutor, run: Callable[[list[int]], list[int]], message: str
) -> None:
    async def main() -> Sequence[object]:
        batcher = MicroBatcher(run, executor, 8, 100)
        calls = asyncio.gather(*(batcher.submit([item]) for item in range(3)), return_exceptions=True)
        return await asyncio.wait_for(calls, 5)

    errors = asyncio.run(main())
    assert len(errors) == 3
    for error in errors:
        assert isinstance(error, Exception)
        assert not isinstance(error, ApiError)
        assert message in str(error)


def test_a_broken_executor_or_watch_ends_no_batcher() -> None:
    class Deaf(Heard):
        def image_batch(self, size: int) -> None:
            raise OSError("deaf")

    async def main() -> Sequence[object]:
        executor = ThreadPoolExecutor(1)
        batcher = MicroBatcher(Doubling(), executor, 8, 100)
        batcher.watch = Deaf()
        found: list[object] = [await batcher.submit([1]), await batcher.submit([2])]
        executor.shutdown()
        return [*found, *await asyncio.gather(batcher.submit([3]), batcher.submit([4]), return_exceptions=True)]

    one, two, three, four = asyncio.run(main())
    assert (one, two) == ([2], [4])
    assert isinstance(three, RuntimeError)
    assert isinstance(four, RuntimeError)


def test_a_full_queue_refuses_and_says_when_to_come_back(executor: ThreadPoolExecutor) -> None:
    run = Doubling(0.05)

    async def main() -> tuple[ApiError, Sequence[object], list[int]]:
        batcher = MicroBatcher(run, executor, 1, 3)
        tasks = [asyncio.create_task(batcher.submit([0]))]
        await asyncio.sleep(0.01)
        tasks += [asyncio.create_task(batcher.submit([item])) for item in (1, 2, 3)]
        await asyncio.sleep(0)  # 0 runs, the others wait
        with pytest.raises(ApiError) as caught:
            await batcher.submit([9])
        tasks[2].cancel()
        await asyncio.sleep(0)
        late = await batcher.submit([9])  # in the place of the one that has gone
        return caught.value, await asyncio.gather(*tasks, return_exceptions=True), late

    error, (zero, one, two, three), late = asyncio.run(main())
    assert (error.status, error.retry_after) == (503, 1)
    assert [zero, one, three, late] == [[0], [2], [6], [18]]
    assert isinstance(two, asyncio.CancelledError)
    assert run.seen == [0, 1, 3, 9]


def test_more_images_than_the_queue_holds_are_taken_when_it_is_empty(executor: ThreadPoolExecutor) -> None:
    async def main() -> list[int]:
        return await MicroBatcher(Doubling(), executor, 2, 3).submit(list(range(7)))

    assert asyncio.run(main()) == [0, 2, 4, 6, 8, 10, 12]


def test_what_has_not_begun_by_its_deadline_is_refused_at_once_and_never_run(executor: ThreadPoolExecutor) -> None:
    run = Doubling(0.1)

    async def main() -> tuple[list[int], Sequence[object], float]:
        loop = asyncio.get_running_loop()
        batcher = MicroBatcher(run, executor, 8, 100)
        started = loop.time()
        begun = asyncio.create_task(batcher.submit([1], started + 0.03))  # its batch ends after its deadline
        await asyncio.sleep(0.01)
        late = await asyncio.gather(batcher.submit([2, 3], started + 0.03), return_exceptions=True)
        waited = loop.time() - started
        late += await asyncio.gather(batcher.submit([4], started - 1), return_exceptions=True)
        return await begun, late, waited

    begun, late, waited = asyncio.run(main())
    assert begun == [2]
    assert all(map(refused, late))
    assert 0.025 < waited < 0.09  # it did not wait for the batch to end
    assert run.seen == [1]


def test_a_lone_caller_never_waits_for_company(executor: ThreadPoolExecutor) -> None:
    async def main() -> float:
        batcher = MicroBatcher(Doubling(), executor, 8, 100, max_wait=2.0)
        started = time.perf_counter()
        for item in range(10):
            await batcher.submit([item])
        return time.perf_counter() - started

    assert asyncio.run(main()) < 2.0


def test_callers_that_come_back_one_by_one_find_each_other(executor: ThreadPoolExecutor) -> None:
    async def main(max_wait: float) -> list[list[int]]:
        run = Doubling(0.04)
        batcher = MicroBatcher(run, executor, 8, 100, max_wait)

        async def client(number: int) -> None:
            for _ in range(4):
                await asyncio.sleep(0.001 * number)
                await batcher.submit([number])

        await asyncio.gather(*map(client, range(6)))
        return run.batches

    assert max(map(len, asyncio.run(main(0)))) == 5  # one begins, five wait for it
    # the first one is back before its company waits in vain; it is through with its requests one batch before the others
    assert [len(batch) for batch in asyncio.run(main(0.3))] == [1, 6, 6, 6, 5]


def test_a_batcher_that_was_idle_does_not_wait_for_those_of_before(executor: ThreadPoolExecutor) -> None:
    async def main() -> float:
        batcher = MicroBatcher(Doubling(), executor, 8, 100, max_wait=0.1)
        await batcher.submit([1, 2, 3, 4])
        await asyncio.sleep(0.12)
        started = time.perf_counter()
        await batcher.submit([5])
        return time.perf_counter() - started

    assert asyncio.run(main()) < 0.05


def test_close_answers_what_was_taken_and_refuses_the_rest(executor: ThreadPoolExecutor) -> None:
    async def main() -> Sequence[object]:
        batcher = MicroBatcher(Doubling(0.02), executor, 2, 100)
        taken = [asyncio.create_task(batcher.submit([item])) for item in range(5)]
        await asyncio.sleep(0)
        await batcher.close()
        assert all(task.done() for task in taken) or not await asyncio.sleep(0)
        refusal = await asyncio.gather(batcher.submit([9]), return_exceptions=True)
        await batcher.close()
        return [*[await task for task in taken], *refusal]

    *answers, refusal = asyncio.run(main())
    assert answers == [[0], [2], [4], [6], [8]]
    assert refused(refusal)


def test_another_event_loop_finds_it_ready_though_the_first_was_left_in_the_middle(executor: ThreadPoolExecutor) -> None:
    batcher = MicroBatcher(Doubling(0.05), executor, 2, 100)

    async def leave() -> None:
        _left = [asyncio.create_task(batcher.submit([item])) for item in range(5)]
        await asyncio.sleep(0.01)

    async def main() -> list[int]:
        return await asyncio.wait_for(batcher.submit([6, 7]), 5)

    asyncio.run(leave())
    assert asyncio.run(main()) == [12, 14]


def test_the_watch_hears_of_batches_queues_and_runs(executor: ThreadPoolExecutor) -> None:
    heard = Heard()

    async def main() -> None:
        batcher = MicroBatcher(Doubling(0.02), executor, 8, 100)
        batcher.watch = heard
        first = asyncio.create_task(batcher.submit([1]))
        await asyncio.sleep(0.005)
        await asyncio.gather(first, batcher.submit([2, 3]))

    asyncio.run(main())
    assert heard.sizes == [1, 2]
    assert [stage for stage, _ in heard.stages] == ["encode", "queue", "encode", "queue", "queue"]
    times = [seconds for _, seconds in heard.stages]
    assert 0.02 <= min(times[0], times[2]) < 0.2
    assert times[1] < 0.01 <= min(times[3:])


calls = st.lists(
    st.tuples(
        st.integers(0, 20),  # milliseconds until it comes
        st.integers(0, 5),  # items
        st.one_of(st.none(), st.integers(0, 15)),  # milliseconds to its deadline
        st.one_of(st.none(), st.none(), st.integers(0, 10)),  # milliseconds until its caller goes away
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(calls, st.integers(1, 6), st.integers(1, 12), st.sampled_from([0, 0.002]), st.sets(st.integers(0, 99), max_size=8))
def test_whatever_happens(
    calls: list[tuple[int, int, int | None, int | None]], max_batch: int, max_queue: int, max_wait: float, bad: set[int]
) -> None:
    run = Doubling(0.002)
    asked: dict[int, list[int]] = {}
    numbers = iter(n for n in range(10_000) if n % 100 != GUILTY)
    for number, (_, items, _, _) in enumerate(calls):
        asked[number] = [next(numbers) * 100 + (GUILTY if number in bad and i == 0 else 1) for i in range(items)]

    async def call(batcher: MicroBatcher[int, int], number: int) -> object:
        arrives, _, deadline, leaves = calls[number]
        loop = asyncio.get_running_loop()
        await asyncio.sleep(arrives / 1000)
        until = float("inf") if deadline is None else loop.time() + deadline / 1000
        task = loop.create_task(batcher.submit(asked[number], until))
        if leaves is not None:
            loop.call_later(leaves / 1000, task.cancel)
        return (await asyncio.gather(task, return_exceptions=True))[0]

    async def main() -> list[object]:
        with ThreadPoolExecutor(4) as executor:
            batcher = MicroBatcher(run, executor, max_batch, max_queue, max_wait)
            found = await asyncio.wait_for(asyncio.gather(*(call(batcher, n) for n in range(len(calls)))), 20)
            await asyncio.wait_for(batcher.close(), 5)
            return list(found)

    seen = set[int]()
    for number, outcome in enumerate(asyncio.run(main())):
        _, items, deadline, leaves = calls[number]
        if isinstance(outcome, list):
            assert outcome == [2 * item for item in asked[number]]
            seen |= set(asked[number])
        elif isinstance(outcome, ValueError):
            assert number in bad
        elif isinstance(outcome, asyncio.CancelledError):
            assert leaves is not None
        else:
            assert refused(outcome)
            assert deadline is not None or max_queue < sum(c[1] for c in calls)
    assert not run.overlapped
    assert all(len(batch) <= max_batch for batch in run.batches)
    assert seen <= set(run.seen)
    for batch in run.batches:  # items of a call come in their order
        assert [b for b in batch if b // 100 in {a // 100 for a in batch}] == batch
    firsts = [item for item in dict.fromkeys(run.seen)]
    by_call = [[item for item in firsts if item in own] for own in asked.values()]
    assert all(own == sorted(own) for own in by_call)
