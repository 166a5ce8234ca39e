"""The end of the worker; tests/e2e/test_lifecycle.py ends real ones."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from service import lifecycle
from service.guard.drain import Traffic
from service.lifecycle import Lifecycle

SELECT_LIMIT = 1024  # FD_SETSIZE


@pytest.fixture
def crowded() -> Iterator[None]:
    """A process in which every new descriptor is one that select.select refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * SELECT_LIMIT
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"only {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    while taken[-1] < SELECT_LIMIT:
        taken.append(os.dup(taken[0]))
    yield
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def server_with(*listeners: Any) -> uvicorn.Server:
    server = uvicorn.Server(uvicorn.Config(lambda: None, log_config=None))
    server.servers = list(listeners)
    return server


async def drain(server: uvicorn.Server) -> None:
    ending = Lifecycle(Traffic(), drain_seconds=60)
    ending._stop = server.handle_exit
    await ending._drain(signal.SIGTERM)


@pytest.mark.usefixtures("crowded")
def test_a_drain_with_more_connections_than_select_takes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "candor.service")

    async def run() -> uvicorn.Server:
        server = server_with(await asyncio.start_server(lambda *_: None, "127.0.0.1", 0))
        await drain(server)
        return server

    assert asyncio.run(run()).should_exit
    assert caplog.messages == ["draining: 0 requests in flight", "drained"]


def test_connections_that_nobody_accepts_do_not_hold_it_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        server = server_with(SimpleNamespace(sockets=[listening], close=lambda: None))
        start = time.monotonic()
        asyncio.run(asyncio.wait_for(drain(server), 10))
    assert server.should_exit
    assert time.monotonic() - start < 5


def test_an_error_while_closing_is_logged_and_the_process_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ValueError("a surprise")

    monkeypatch.setattr(lifecycle, "_close_gently", broken)
    server = server_with()
    asyncio.run(drain(server))
    assert server.should_exit
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "a surprise" in caplog.text


@pytest.mark.parametrize("fails", [False, True])
def test_what_the_service_holds_is_closed_after_the_last_answer(fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "candor.service")
    server, seen = server_with(), []
    ending = Lifecycle(Traffic(), drain_seconds=60)
    ending._stop = server.handle_exit

    def close() -> None:
        seen.append((caplog.messages[-1], server.should_exit))
        if fails:
            raise OSError("disk full")

    ending.at_end = close
    asyncio.run(ending._drain(signal.SIGTERM))
    assert seen == [("drained", False)]
    assert server.should_exit
    assert [r.levelname for r in caplog.records if r.levelname == "ERROR"] == ["ERROR"] * fails
