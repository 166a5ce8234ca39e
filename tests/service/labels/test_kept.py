"""What is kept is bounded; what is made is made once, whoever asks, errs or leaves."""

from __future__ import annotations

import asyncio

import pytest

from service.labels.kept import MadeOnce, Recent


def test_the_least_recently_used_goes_first() -> None:
    kept: Recent[str] = Recent(10)
    for name, size in (("a", 4), ("b", 4), ("c", 2)):
        kept.put(name, name.upper(), size)
    assert kept.get("a") == "A"  # now b is the oldest
    kept.put("d", "D", 3)
    assert [kept.get(name) for name in "abcd"] == ["A", None, "C", "D"]
    assert kept.kept_bytes == 9


def test_a_value_that_is_too_large_pushes_nothing_out() -> None:
    kept: Recent[str] = Recent(10)
    kept.put("a", "A", 10)
    kept.put("b", "B", 11)
    assert ("a" in kept, "b" in kept, kept.kept_bytes) == (True, False, 10)


def test_a_value_that_is_put_again_counts_once() -> None:
    kept: Recent[str] = Recent(10)
    kept.put("a", "A", 6)
    kept.put("a", "new", 7)
    assert (kept.get("a"), kept.kept_bytes) == ("new", 7)


class Maker:
    """Makes a value when it is let go."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls, self.ended, self.go, self._error = 0, 0, asyncio.Event(), error

    async def __call__(self) -> str:
        self.calls += 1
        try:
            await self.go.wait()
            if self._error is not None:
                raise self._error
            return f"value {self.calls}"
        finally:
            self.ended += 1


def made_once() -> MadeOnce[str]:
    return MadeOnce(100, lambda value: len(value))


def test_all_who_ask_at_once_get_one_value() -> None:
    async def scenario() -> None:
        values, make = made_once(), Maker()
        asking = [asyncio.create_task(values.get("key", make)) for _ in range(5)]
        await asyncio.sleep(0)
        make.go.set()
        assert await asyncio.gather(*asking) == [("value 1", True), *[("value 1", False)] * 4]
        assert await values.get("key", make) == ("value 1", False)
        assert make.calls == 1

    asyncio.run(scenario())


def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    async def scenario() -> None:
        values, bad = made_once(), Maker(ValueError("no"))
        bad.go.set()
        found = await asyncio.gather(*(values.get("key", bad) for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in found] == ["no"] * 3
        assert bad.calls == 1
        good = Maker()
        good.go.set()
        assert await values.get("key", good) == ("value 1", True)

    asyncio.run(scenario())


def test_who_leaves_takes_nobody_along() -> None:
    async def scenario() -> None:
        values, make = made_once(), Maker()
        first, second = (asyncio.create_task(values.get("key", make)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        make.go.set()
        assert await second == ("value 1", False)

    asyncio.run(scenario())


def test_when_all_have_left_the_making_stops_and_a_newcomer_begins_again() -> None:
    async def scenario() -> None:
        values, make = made_once(), Maker()
        asking = [asyncio.create_task(values.get("key", make)) for _ in range(2)]
        await asyncio.sleep(0)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        newcomer = asyncio.create_task(values.get("key", make))
        await asyncio.sleep(0)
        assert make.ended == 1
        make.go.set()
        assert await newcomer == ("value 2", True)

    asyncio.run(scenario())
