"""The processes of the bench, and the CPU time that they take."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

import psutil  # type: ignore[import-untyped]

from candor.errors import CandorError

Given = ParamSpec("Given")
Found = TypeVar("Found")


class Helper:
    """A process of its own that stays: what it has loaded for one call is there for the next. A context manager."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()

    def call(self, function: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs) -> Found:
        """Run a function of a module there, and wait for what it returns."""
        return self._pool.submit(function, *args, **kwargs).result()


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time that a process has taken so far, all threads, user and system, in steps of 10 ms."""
    times = process.cpu_times()
    return float(times.user + times.system)


def stolen_seconds() -> float:
    """Seconds since boot, mean over cores, in which the host ran others (Linux's `steal`); 0 where nobody tells."""
    return float(getattr(psutil.cpu_times(), "steal", 0.0)) / (psutil.cpu_count() or 1)


def serving_process(port: int) -> psutil.Process:
    """The process below this one that answers on a loopback port.

    BentoML's arbiter and its worker share the listening socket; the one that holds the model is the larger one.

    Raises:
        CandorError: nobody below this process listens there.
    """
    listening = [child for child in psutil.Process().children(recursive=True) if _listens(child, port)]
    if not listening:
        raise CandorError(f"no process of the bench listens on port {port}")
    return max(listening, key=lambda child: child.memory_info().rss)


def _listens(process: psutil.Process, port: int) -> bool:
    try:
        connections = process.net_connections("tcp")
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # it has ended meanwhile
        return False
    return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections)
