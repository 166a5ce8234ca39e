"""How many threads, images and labels at once: measured at start, in a few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

DEFAULT_BATCH = 32
DEFAULT_CHUNK = 64
NEARLY = 0.95  # of the best is as good as the best
PAYS = 0.8  # of the time before, at most, is what more threads must take: they take cores from decoders and the event loop
BATCH_SECONDS = 0.75  # that a batch may take: a newcomer waits for the one that runs
CHUNK_SECONDS = 0.3  # that labels may hold up images
MOST_LABELS = 256
MOST_ON_CPU = 64  # images
MOST_ON_GPU = 256
PROBE_BATCH = 4
PROBE_LABELS = 8
MOST_REPEATS = 9
REPEAT_SECONDS = 0.3

Seconds = Callable[[int], float]


@dataclass(frozen=True)
class Limits:
    """What a machine does best with a model.

    Attributes:
        threads: of torch, in the model's thread.
        max_batch: images in one run.
        images_per_second: of the fastest batch that was tried; NaN where none was.
    """

    threads: int
    max_batch: int
    images_per_second: float


def choose_threads(seconds: Seconds, most: int) -> int:
    """As many threads as pay for the cores that they take.

    The model is measured alone, and works beside the rest of the service. With glyph-clip on two cores a second thread made
    it 0.93 to 1.15 times as fast, by chance, and the answers of the service 10 to 15 % slower.

    Args:
        seconds: threads to the time of the same work.
        most: threads to try; 1, 2, 4, ... and the most itself are, until more do not pay.
    """
    best, fastest = 1, seconds(1)
    for threads in [*(2**i for i in range(1, most.bit_length()) if 2**i < most), *([most] if most > 1 else [])]:
        took = seconds(threads)
        if took > PAYS * fastest:
            break
        best, fastest = threads, took
    return best


def choose_batch(seconds: Seconds, most: int) -> tuple[int, float]:
    """The largest batch that is nearly the fastest an image: one is only run where as many wait.

    Args:
        seconds: images to the time of a batch of them.
        most: images to try; 1, 2, 4, ... are, until two larger ones have not been faster, or one would take too long.

    Returns:
        Images, and the images a second of the fastest batch.
    """
    rates: dict[int, float] = {}
    batch = 1
    while batch <= most:
        took = seconds(batch)
        if rates and took > BATCH_SECONDS:
            break
        rates[batch] = batch / took
        best = max(rates, key=lambda tried: rates[tried])
        if batch >= 4 * best or 2 * took > BATCH_SECONDS:
            break
        batch *= 2
    fastest = max(rates.values())
    return max(tried for tried, rate in rates.items() if rate >= NEARLY * fastest), fastest


def choose_chunk(seconds: float, labels: int) -> int:
    """Labels to encode at once, so that images never wait long for them.

    Args:
        seconds: that `labels` labels took.
        labels: how many.
    """
    return max(1, min(MOST_LABELS, int(labels * CHUNK_SECONDS / max(seconds, 1e-6))))


def fastest_of_some(work: Callable[[], float], until: float) -> float:
    """The shortest time of work that is repeated for a moment: what else runs on the machine only makes it longer.

    Args:
        work: gives its own seconds.
        until: no run is begun that would end after it (`time.perf_counter`).
    """
    times = [work()]
    while len(times) < MOST_REPEATS and sum(times) < REPEAT_SECONDS and time.perf_counter() + min(times) < until:
        times.append(work())
    return min(times)
