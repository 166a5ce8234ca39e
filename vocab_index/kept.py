"""Keeping what is dear to make, under a bound of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

V = TypeVar("V")


class KeptValues(Generic[V]):
    """Values by key, the least recently used forgotten first. Safe from several threads; each value is made once.

    A thread that asks for a value that another one is making waits for it. An error reaches all who wait, and is not kept.

    Args:
        most_bytes: bound on what is kept; a value that is larger alone is not kept.
        size: bytes of a value.
    """

    def __init__(self, most_bytes: int, size: Callable[[V], int]) -> None:
        self._most, self._size = most_bytes, size
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, Future[V]] = OrderedDict()
        self._bytes: dict[Hashable, int] = {}

    @property
    def kept_bytes(self) -> int:
        """Bytes of all values that are kept."""
        with self._lock:
            return sum(self._bytes.values())

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of a key, made by `make` where it is not kept."""
        with self._lock:
            value = self._values.get(key)
            if known := value is not None:
                self._values.move_to_end(key)
            else:
                value = self._values[key] = Future()
        if not known:
            self._make(key, value, make)
        return value.result()

    def _make(self, key: Hashable, value: Future[V], make: Callable[[], V]) -> None:
        try:
            made = make()
            size = self._size(made)
        except BaseException as error:
            with self._lock:
                del self._values[key]
            value.set_exception(error)
            raise
        value.set_result(made)
        with self._lock:
            if size > self._most:
                del self._values[key]
                return
            self._bytes[key] = size
            while sum(self._bytes.values()) > self._most:
                oldest = next(k for k in self._values if k in self._bytes)
                del self._values[oldest], self._bytes[oldest]
