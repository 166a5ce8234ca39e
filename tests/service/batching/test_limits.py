"""Threads, batches and chunks from times; on machines whose times are known."""

from __future__ import annotations

import pytest

from service.batching.limits import choose_batch, choose_chunk, choose_threads, fastest_of_some


@pytest.mark.parametrize(
    ("serial", "most", "chosen", "tried"),
    [
        (0.0, 8, 8, [1, 2, 4, 8]),  # everything runs side by side
        (0.0, 6, 6, [1, 2, 4, 6]),
        (0.0, 1, 1, [1]),
        (1.0, 8, 1, [1, 2]),  # nothing does
        (0.2, 64, 8, [1, 2, 4, 8, 16]),  # 1, 0.6, 0.4, 0.3, 0.25: the last is 5/6 of the one before, more than 0.8
        (0.7, 64, 1, [1, 2]),  # 1, 0.85: a second core for 15 % does not pay
    ],
)
def test_threads(serial: float, most: int, chosen: int, tried: list[int]) -> None:
    asked = []

    def seconds(threads: int) -> float:
        asked.append(threads)
        return serial + (1 - serial) / threads

    assert choose_threads(seconds, most) == chosen
    assert asked == tried


@pytest.mark.parametrize(
    ("fixed", "each", "most", "chosen", "tried"),
    [
        (0.0, 0.01, 64, 4, [1, 2, 4]),  # nothing is gained, and nothing lost
        (0.02, 0.01, 64, 64, [1, 2, 4, 8, 16, 32, 64]),  # 64 in 0.66 s
        (0.02, 0.01, 16, 16, [1, 2, 4, 8, 16]),
        (0.02, 0.04, 64, 16, [1, 2, 4, 8, 16]),  # 16 in 0.66 s; 32 would take too long
        (2.0, 0.1, 64, 1, [1]),  # even one takes too long
        (0.005, 0.0, 256, 256, [1, 2, 4, 8, 16, 32, 64, 128, 256]),  # as on a GPU
    ],
)
def test_batches(fixed: float, each: float, most: int, chosen: int, tried: list[int]) -> None:
    asked = []

    def seconds(batch: int) -> float:
        asked.append(batch)
        return fixed + each * batch

    batch, rate = choose_batch(seconds, most)
    assert asked == tried
    rates = {tried: tried / (fixed + each * tried) for tried in asked}
    assert rate == pytest.approx(max(rates.values()))
    assert batch == chosen


def test_a_step_back_does_not_hide_a_larger_gain() -> None:
    times = {1: 0.1, 2: 0.21, 4: 0.3, 8: 0.9}  # 10, 9.5, 13.3, 8.9 a second
    assert choose_batch(times.__getitem__, 8) == (4, pytest.approx(40 / 3))


@pytest.mark.parametrize(("seconds", "chunk"), [(0.375, 6), (0.008, 256), (0.0, 256), (40.0, 1), (0.08, 30)])
def test_chunks_of_labels_take_three_tenths_of_a_second(seconds: float, chunk: int) -> None:
    assert choose_chunk(seconds, 8) == chunk


def test_the_fastest_of_some_runs_and_none_that_would_end_too_late() -> None:
    times = iter([0.2, 0.05, 0.25, 7.0])
    assert fastest_of_some(lambda: next(times), float("inf")) == 0.05  # 0.5 s are enough
    assert fastest_of_some(lambda: next(times), 0) == 7.0
    short = iter([0.001] * 8 + [0.0005, 0.0001])
    assert fastest_of_some(lambda: next(short), float("inf")) == 0.0005  # nine are enough
