"""What glibc keeps after a peak goes back to the machine."""

from __future__ import annotations

import asyncio
import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from service.memory import give_back, trimmer

BLOCK, BLOCKS = 64 * 1024, 2000  # below the size that glibc maps and unmaps by itself
PEAK = BLOCK * BLOCKS

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


@contextmanager
def freed_peak() -> Iterator[None]:
    """Blocks that were written to and are free again, but for the last, which keeps the others from going back."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    blocks = [libc.malloc(BLOCK) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    for block in blocks[:-1]:
        libc.free(block)
    yield
    libc.free(blocks[-1])


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


@glibc
def test_a_peak_goes_back() -> None:
    with freed_peak():
        before = resident()
        asyncio.run(_for_a_moment(3600))  # the first time is at once
        assert before - resident() > 0.9 * PEAK


def test_it_is_done_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []

    def trim(pad: int) -> int:
        kept.append(pad)
        return 1

    monkeypatch.setattr("service.memory.trimmer", lambda: trim)
    asyncio.run(_for_a_moment(0.01))
    assert len(kept) > 2
    assert set(kept) == {0}


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert trimmer() is None
    asyncio.run(asyncio.wait_for(give_back(3600), 5))  # ends by itself


async def _for_a_moment(rest: float) -> None:
    task = asyncio.create_task(give_back(rest))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
