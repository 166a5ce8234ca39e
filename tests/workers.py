"""The worker processes of a real service, and requests to one of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import psutil


def parent_of(url: str) -> psutil.Process:
    """BentoML's parent process of a service that this process has started."""
    port = str(urlsplit(url).port)
    children = psutil.Process().children(recursive=True)
    return next(child for child in children if {"bentoml", "--port", port} <= set(child.cmdline()))


def workers_of(url: str) -> list[psutil.Process]:
    """Its workers, the oldest first."""
    children = [child for child in parent_of(url).children() if child.status() != psutil.STATUS_ZOMBIE]
    return sorted(
        (child for child in children if "_bentoml_impl.worker.service" in child.cmdline()),
        key=lambda child: child.create_time(),
    )


@contextmanager
def only(worker: psutil.Process, workers: Sequence[psutil.Process]) -> Iterator[None]:
    """In the block the others are stopped, so that no other takes a new connection."""
    others = [other.pid for other in workers if other.pid != worker.pid and other.is_running()]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


def asked(url: str, worker: psutil.Process, method: str, path: str, **more: object) -> httpx.Response:
    """The answer of one worker, on a connection of its own."""
    with only(worker, workers_of(url)):
        return httpx.request(method, f"{url}{path}", timeout=120, **more)  # type: ignore[arg-type]
