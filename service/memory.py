"""Memory that is free, back to the machine.

glibc keeps what a thread has freed, where anything in use lies behind it. Each peak of requests in flight leaves some
there, so the memory of a service that is well creeps for hours, and nobody can tell it from a leak.
malloc_trim(3) gives whole free pages back wherever they lie.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

REST_SECONDS = 30.0  # between two times


def trimmer() -> Callable[[int], int] | None:
    """Glibc's `malloc_trim`; None where the C library is another one."""
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if function is None:
        return None
    function.argtypes, function.restype = [ctypes.c_size_t], ctypes.c_int
    trim: Callable[[int], int] = function
    return trim


async def give_back(rest: float = REST_SECONDS) -> None:
    """Give free pages back, now and then, until cancelled; in a thread, so that the event loop goes on.

    Args:
        rest: seconds between two times.
    """
    trim = trimmer()
    while trim is not None:
        await asyncio.to_thread(trim, 0)
        await asyncio.sleep(rest)
