"""From the start of the worker process to its end: loading, ready, draining."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import uvicorn

from candor.errors import CandorError
from service.guard.drain import Traffic
from service.siblings import Siblings

log = logging.getLogger("candor.service")

LINGER = 2.0  # seconds that open connections have for a last request, which gets its 503
SETTLE = 0.1  # seconds until what was accepted last has a transport; asyncio drops it where its listener is closed before
TICK = 0.02  # seconds


class Lifecycle:
    """Ends the worker without losing a request.

    On SIGTERM or SIGINT readiness goes at once and new requests get 503. When all requests in flight are answered, the
    listening socket is closed, connections that are still open have a moment to hear a 503, and uvicorn is told to stop.
    What is unanswered after `drain_seconds` is given up. Before the model is loaded the process just ends.

    Workers of one server listen on one socket, which only the last of them closes: it takes the connections that wait.

    Args:
        traffic: counted by `Drain`.
        drain_seconds: from the signal to the end, at most.
        siblings: the other workers; None where there are none.

    Attributes:
        at_end: called when every request is answered, before the process ends.
    """

    def __init__(self, traffic: Traffic, drain_seconds: float, siblings: Siblings | None = None) -> None:
        self.traffic, self._drain_seconds = traffic, drain_seconds
        self._siblings = siblings or Siblings(None)
        self.at_end: Callable[[], None] = lambda: None
        self._stop: Callable[[int, FrameType | None], Any] | None = None
        self._interrupts = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, load: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Load in the background, so that /livez and /readyz answer meanwhile, and take over uvicorn's signals.

        Called in uvicorn's event loop. Where something else serves, signals are left as they are.

        Args:
            load: what makes the service ready. Where it fails, the process ends.

        Returns:
            The loading.
        """
        self._siblings.join()
        loading = asyncio.get_running_loop().create_task(self._load(load))
        self._tasks.append(loading)
        stop = signal.getsignal(signal.SIGTERM)
        if isinstance(getattr(stop, "__self__", None), uvicorn.Server) and callable(stop):
            self._stop = stop
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda caught, _: loop.call_soon_threadsafe(self._begin, caught))
        return loading

    async def _load(self, load: Callable[[], Awaitable[None]]) -> None:
        try:
            await load()
        except Exception as error:  # whatever it is, a service that cannot load must not stay up
            if self._stop is None:
                raise
            log.critical("the service cannot start: %s", error, exc_info=None if isinstance(error, CandorError) else error)
            os._exit(1)
        self.traffic.state = "ready"
        log.info("ready")

    def _begin(self, number: int) -> None:
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:  # somebody pressed Ctrl-C again
            os._exit(1)
        if self.traffic.state == "loading":
            log.info("stopped while loading")
            os._exit(0)  # the thread that loads cannot be interrupted
        if self.traffic.state == "ready":
            self.traffic.state = "draining"
            last = threading.Timer(self._drain_seconds, self._give_up)
            last.daemon = True
            last.start()
            self._tasks.append(asyncio.get_running_loop().create_task(self._drain(number)))

    async def _drain(self, number: int) -> None:
        log.info("draining: %d requests in flight", self.traffic.in_flight)
        while self.traffic.in_flight:
            await asyncio.sleep(TICK)
        assert self._stop is not None  # else nobody would have begun this
        server = getattr(self._stop, "__self__", None)
        try:
            if isinstance(server, uvicorn.Server):
                await _close_gently(server, last=self._siblings.leave())
        except Exception:  # whatever it is, every request is answered and the process must still end
            log.exception("the connections could not be closed gently")
        log.info("drained")
        try:
            self.at_end()
        except Exception:  # whatever it is, the process must still end
            log.exception("what the service holds could not be closed")
        self._stop(number, None)

    def _give_up(self) -> None:
        log.error("%d requests were unanswered after %g s of draining", self.traffic.in_flight, self._drain_seconds)
        os._exit(1)


async def _close_gently(server: uvicorn.Server, last: bool = True) -> None:
    """Take no new connections, without resetting one; then let the open ones have their last answer.

    Args:
        server: of this worker.
        last: whether no other worker listens on its sockets.
    """
    loop = asyncio.get_running_loop()
    for listener in server.servers:
        for shared in listener.sockets:
            if last:
                await _end_listening(shared)
            loop.remove_reader(shared.fileno())
    await asyncio.sleep(SETTLE)
    for listener in server.servers:
        listener.close()
    deadline = loop.time() + LINGER
    while server.server_state.connections and loop.time() < deadline:
        await asyncio.sleep(TICK)


async def _end_listening(shared: socket.socket) -> None:
    """Take what has connected already, and let nobody connect any more."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LINGER
    with socket.fromfd(shared.fileno(), shared.family, shared.type) as listening:
        waiting = select.poll()  # select.select takes no descriptor above 1023
        waiting.register(listening, select.POLLIN)
        while waiting.poll(0) and loop.time() < deadline:
            await asyncio.sleep(0)  # the loop accepts what has connected already
        # the parent process holds this socket too: only closed here, it would take connections that nobody answers
        with contextlib.suppress(OSError):  # no such thing outside Linux
            listening.shutdown(socket.SHUT_RD)
