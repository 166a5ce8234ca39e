"""Searching from several threads, and what a search does to the processor besides."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen

import numpy as np
import torch
from numpy.typing import NDArray

from vocab_index.bench.figures import Figure, parity
from vocab_index.bench.timing import fastest, seconds
from vocab_index.bench.vectors import QUERIES, Floats
from vocab_index.store.faiss_store import VectorStore
from vocab_index.store.kinds import Kind

K = 10
THREADS = 8
IDLE = 0.02  # seconds between searches, for a thread pool to spin in
IDLE_SHARE = 0.1  # of one core
LOOP = 50  # searches
BUSY = "print(flush=True)\nwhile True: pass"

Answer = tuple[Floats, NDArray[np.int64]]


def bench_concurrency(folder: Path, kind: Kind, path: Path, repeats: int) -> tuple[Figure, ...]:
    """One kind of store, a query a search.

    Args:
        folder: holds the made-up queries.
        kind: of the store.
        path: its file.
        repeats: turns of each way.
    """
    torch_threads = torch.get_num_threads()
    store, queries = VectorStore.load(path), np.load(folder / QUERIES)
    asked = [queries[row : row + 1] for row in range(min(len(queries), 8 * THREADS))]
    with ThreadPoolExecutor(THREADS) as pool:

        def together() -> list[Answer]:
            return list(pool.map(lambda query: store.search(query, K), asked))

        def in_turn() -> list[Answer]:
            return [store.search(query, K) for query in asked]

        other = different(in_turn(), together())
        found = fastest({"together": together, "in turn": in_turn}, repeats)
    section = f"concurrency, {kind}, {len(store):,}, batch 1"
    loop = [partial(store.search, query, K) for query in asked][:LOOP]
    quiet, busy = beside_busy_processes(in_turn)
    return (
        Figure(section, f"{THREADS} threads, against one after the other", found["together"], "s", found["in turn"]),
        parity(section, "answers that differ", other, 0),
        parity(section, "torch's threads more or less than before", abs(torch.get_num_threads() - torch_threads), 0),
        Figure(section, "processor time of a search, in cores", cores(loop), ""),
        Figure(section, "processor time between searches, in cores", idle_cores(loop), "", most=IDLE_SHARE),
        Figure(section, f"beside {os.cpu_count()} busy processes, against alone", busy, "s", quiet),
    )


def different(expected: list[Answer], found: list[Answer]) -> int:
    """How many answers have other words or similarities that differ by more than rounding."""
    pairs = zip(expected, found, strict=True)
    return sum(not (np.array_equal(a[1], b[1]) and np.allclose(a[0], b[0], rtol=0, atol=1e-6)) for a, b in pairs)


def cores(calls: Sequence[Callable[[], object]]) -> float:
    """Processor time over wall time of calls without a pause."""
    start, worked = time.perf_counter(), time.process_time()
    for call in calls:
        call()
    return (time.process_time() - worked) / (time.perf_counter() - start)


def idle_cores(calls: Sequence[Callable[[], object]]) -> float:
    """Processor time over wall time of pauses behind calls: what waiting threads burn."""
    worked = 0.0
    for call in calls:
        call()
        start = time.process_time()
        time.sleep(IDLE)
        worked += time.process_time() - start
    return worked / (IDLE * len(calls))


def beside_busy_processes(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a call alone, and while every core has a busy process besides.

    A fair share is half the speed; threads that wait for each other by spinning lose far more.
    """
    quiet = seconds(call)
    others = [Popen([sys.executable, "-c", BUSY], stdout=PIPE) for _ in range(os.cpu_count() or 1)]
    try:
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()
        return quiet, seconds(call)
    finally:
        for other in others:
            other.kill()
            other.communicate()
