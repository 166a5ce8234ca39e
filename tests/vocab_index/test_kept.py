"""Values are kept under a bound, made once, and an error is not kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from vocab_index.kept import KeptValues


def test_the_least_recently_used_is_forgotten_first() -> None:
    kept: KeptValues[bytes] = KeptValues(10, len)
    made: list[str] = []

    def get(key: str, size: int) -> bytes:
        def make() -> bytes:
            made.append(key)
            return key.encode() * size

        return kept.get(key, make)

    assert get("a", 4) == b"aaaa"
    get("b", 4)
    get("a", 4)
    assert kept.kept_bytes == 8
    get("c", 4)  # b goes
    assert (kept.kept_bytes, made) == (8, ["a", "b", "c"])
    get("a", 4)
    get("b", 4)
    assert made == ["a", "b", "c", "b"]
    assert get("d", 11) == b"d" * 11  # larger than the bound: not kept, and pushes nothing out
    assert kept.kept_bytes == 8
    get("a", 4)
    get("b", 4)
    assert made == ["a", "b", "c", "b", "d"]


def test_many_threads_make_a_value_once() -> None:
    kept: KeptValues[int] = KeptValues(100, lambda _: 1)
    asked, release, made = threading.Barrier(9), threading.Event(), []

    def make() -> int:
        release.wait(10)
        made.append(1)
        return len(made)

    def ask() -> int:
        asked.wait(10)
        return kept.get("key", make)

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask) for _ in range(8)]
        asked.wait(10)
        release.set()
        assert [answer.result(10) for answer in answers] == [1] * 8
    assert made == [1]


def test_an_error_is_not_kept() -> None:
    kept: KeptValues[int] = KeptValues(100, lambda _: 1)

    def fail() -> int:
        raise OSError("no memory")

    for _ in range(2):
        with pytest.raises(OSError, match="no memory"):
            kept.get("key", fail)
    assert kept.get("key", lambda: 7) == 7
