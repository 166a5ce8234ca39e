"""How things are measured: in a process of its own, in turns, the fastest counts."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Found = TypeVar("Found")
ENOUGH = 20  # seconds of one call; what has run so long has no further turn
TURN = 0.2  # seconds that a short call is repeated for before the next has its turn
REST = 0.02  # seconds between turns: the thread pool of the last one may spin that long


def alone(function: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs) -> Found:
    """A call in a new process, so that memory, caches and thread pools are its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def fastest(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of each call's fastest run, as timeit: what slows a run down is other work.

    The calls have `repeats` turns each, one behind the other, so that all of them meet the same state of the machine. A
    short call runs many times in its turn; what it costs to wake its threads is not in its fastest run.

    Args:
        calls: by name.
        repeats: turns, at least 1.
    """
    found, spent = dict.fromkeys(calls, math.inf), dict.fromkeys(calls, 0.0)
    for _ in range(repeats):
        for name, call in calls.items():
            if spent[name] >= ENOUGH:
                continue
            time.sleep(REST)
            ends = spent[name] + TURN
            while True:
                taken = seconds(call)
                found[name], spent[name] = min(found[name], taken), spent[name] + taken
                if spent[name] >= ends:
                    break
    return found
