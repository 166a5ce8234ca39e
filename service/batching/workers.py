"""The threads of one process, and what models in it share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import torch

from service.batching.decode_pool import DecodePool
from service.batching.limits import Limits

if TYPE_CHECKING:
    from service.batching.tower import ImageTower

MOST_DECODERS = 8  # threads; each may hold an image of the largest size


class Workers:
    """A decode pool, and the one thread in which all models of a process run, one after the other.

    torch counts threads for each calling thread, so the number is set inside the model's; other threads have their own.

    Args:
        threads: that torch uses in the model's thread.
        max_queue: images that wait to be decoded at most.

    Attributes:
        model: the model's thread.
        decoders: the pool.
        threads: as given, or as measured since.
        limits: measured, by image tower.
    """

    def __init__(self, threads: int, max_queue: int) -> None:
        self.threads = threads
        self.model = ThreadPoolExecutor(1, "model", initializer=torch.set_num_threads, initargs=(threads,))
        self.decoders = DecodePool(min(cores(), MOST_DECODERS), max_queue)
        self.limits: dict[Hashable, Limits] = {}
        self._towers: WeakValueDictionary[Hashable, ImageTower] = WeakValueDictionary()
        self._lock = threading.Lock()

    def use_threads(self, threads: int) -> None:
        """Let torch use another number of threads in the model's thread, from its next piece of work on."""
        self.threads = threads
        self.model.submit(torch.set_num_threads, threads)

    def tower(self, key: Hashable, make: Callable[[], ImageTower]) -> ImageTower:
        """The image tower of that key while anybody has it, or a new one."""
        with self._lock:
            tower = self._towers.get(key)
            if tower is None:
                tower = self._towers[key] = make()
            return tower


@lru_cache(maxsize=1)
def process_workers(threads: int, max_queue: int) -> Workers:
    """The workers of this process: the same ones for the same numbers, so that an old and a new model take turns."""
    return Workers(threads, max_queue)


def cores() -> int:
    """Cores that this process may use; OMP_NUM_THREADS is taken as a wish for fewer."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wish = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(wish)) if wish.isdecimal() and int(wish) > 0 else allowed
