"""Values kept under a bound of memory, for one event loop: no locks."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """Values by key, the least recently used forgotten first.

    Args:
        most_bytes: bound on what is kept; a value that is larger alone is not kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most, self.kept_bytes = most_bytes, 0
        self._values: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def get(self, key: Hashable) -> V | None:
        """The value of a key, which is now the most recently used; None where it is not kept."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: V, size: int) -> None:
        """Keep a value of so many bytes."""
        if size > self._most:
            return
        if key in self._values:
            self.kept_bytes -= self._values.pop(key)[1]
        self._values[key] = value, size
        self.kept_bytes += size
        while self.kept_bytes > self._most:
            self.kept_bytes -= self._values.popitem(last=False)[1][1]


@dataclass(eq=False)
class _Making(Generic[V]):
    """A value that is being made, and how many wait for it."""

    task: asyncio.Task[V]
    waiting: int = 0


class MadeOnce(Generic[V]):
    """Values that are made when they are first asked for, and kept. Whoever asks for one that is being made waits for it.

    An error reaches all who wait, and is not kept. A caller who is cancelled leaves; the last to leave stops the making.

    Args:
        most_bytes: as for `Recent`.
        size: bytes of a value.
    """

    def __init__(self, most_bytes: int, size: Callable[[V], int]) -> None:
        self._kept: Recent[V] = Recent(most_bytes)
        self._size = size
        self._making: dict[Hashable, _Making[V]] = {}

    async def get(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, V]]) -> tuple[V, bool]:
        """The value of a key, made by `make` where it is not kept, and whether this call had it made."""
        value = self._kept.get(key)
        if value is not None:
            return value, False
        making = self._making.get(key)
        if first := making is None:
            making = self._making[key] = _Making(asyncio.create_task(make()))
            making.task.add_done_callback(partial(self._made, key, making))
        making.waiting += 1
        try:
            return await asyncio.shield(making.task), first
        finally:
            making.waiting -= 1
            if not making.waiting and not making.task.done():
                self._forget(key, making)
                making.task.cancel()

    def _made(self, key: Hashable, making: _Making[V], task: asyncio.Task[V]) -> None:
        self._forget(key, making)
        if not task.cancelled() and task.exception() is None:
            self._kept.put(key, task.result(), self._size(task.result()))

    def _forget(self, key: Hashable, making: _Making[V]) -> None:
        if self._making.get(key) is making:
            del self._making[key]
