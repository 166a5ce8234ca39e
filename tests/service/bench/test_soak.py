"""The soak tool: its traffic, its verdict on figures worked by hand, and a run against a server that misbehaves."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from itertools import count, islice
from typing import Any

import pytest
from aiohttp import web

from service.bench.ageing import BODIES, Ageing, Turns, TurnSetting, compare
from service.bench.soak import Interval, Soak, SoakSetting, run_soak
from service.bench.soak_traffic import SoakRequest, traffic


def fields(request: SoakRequest) -> dict[str, Any]:
    """What a request says, whichever way it is written; the picture left out."""
    if request.content_type == "application/json":
        document = json.loads(request.body)
        assert len(document.pop("image")) > 100
        return dict(document)
    message = message_from_bytes(f"Content-Type: {request.content_type}\r\n\r\n".encode() + request.body)
    parts = {part.get_param("name", header="content-disposition"): part for part in message.get_payload()}
    assert len(parts.pop("image").get_payload(decode=True)) > 50
    return {name: json.loads(part.get_payload(decode=True)) for name, part in parts.items()}


def test_traffic_is_a_mix_and_the_same_for_a_seed() -> None:
    requests = list(islice(traffic(3), 600))
    assert requests == list(islice(traffic(3), 600))
    assert requests != list(islice(traffic(4), 600))
    asked = [fields(request) for request in requests]
    sets = [tuple(one["labels"]) for one in asked]
    assert {2, 5, 20, 100} <= {len(labels) for labels in sets}
    new = [labels for labels in sets if sets.count(labels) == 1 and labels[0].rsplit(" ", 1)[-1].startswith("3.")]
    assert 0.08 < len(new) / 600 < 0.22  # 15 % bring labels that nobody has sent before
    assert 0.4 < sum(one["open_set"] for one in asked) / 600 < 0.6
    assert 0.4 < sum(request.content_type == "application/json" for request in requests) / 600 < 0.6
    assert 0.02 < sum(request.refused for request in requests) / 600 < 0.09


def figures(memory: list[float], p50: list[float]) -> Soak:
    return Soak(10, 8, [Interval(i, 100, 0, p, 2 * p, m, 0.0) for i, (m, p) in enumerate(zip(memory, p50, strict=True))])


def test_growth_and_drift_leave_the_first_fifth_out() -> None:
    """Ten intervals: the second fifth is 100, 102, the last 103, 103: 103 / 101 - 1 = 1.98 %."""
    found = figures([1, 1, 100, 102, 0, 0, 0, 0, 103, 103], [9, 9, 0.1, 0.1, 0, 0, 0, 0, 0.1, 0.14])
    assert found.growth == pytest.approx(2 / 101)
    assert found.drift == pytest.approx(1.2)
    assert found.sound
    assert not figures([100] * 8 + [102.1] * 2, [1.0] * 10).sound
    assert not figures([100] * 10, [1.0] * 8 + [1.3] * 2).sound
    found.faults["500 to a good request"] = 1
    assert not found.sound


def test_ageing_is_asked_for_beside_growth_and_drift() -> None:
    """Pairs of 1.2 / 1.0, .5 / 1.0 and 4.2 / 4.0: the median is 1.05."""
    found = figures([100] * 10, [1.0] * 10)
    assert found.sound
    turns = Turns((1.2, 0.5, 4.2), (1.0, 1.0, 4.0), 0)
    assert turns.ratio == pytest.approx(1.05)
    even = Turns((1.0,), (1.0,), 0)
    found.ageing = Ageing(even, turns)
    assert found.sound
    assert found.document()["aged"] == pytest.approx(1.05)
    found.ageing = Ageing(Turns((0.9,), (1.0,), 0), turns)  # it was the faster one at first: 1.05 / 0.9 = 1.17
    assert found.document()["aged"] == pytest.approx(1.05 / 0.9)
    assert not found.sound
    found.ageing = Ageing(even, Turns((1.0,), (1.0,), 1))
    assert not found.sound
    assert figures([100] * 10, [1.0] * 10).document()["aged"] is None
    drifted = figures([100] * 10, [1.0] * 8 + [1.3] * 2)
    drifted.ageing = Ageing(even, even)  # a twin excuses no drift
    assert not drifted.sound


def test_too_short_a_soak_is_not_sound() -> None:
    found = figures([100] * 4, [1.0] * 4)
    assert not found.sound
    assert found.document()["growth"] is None


@contextmanager
def server(answer: Any) -> Iterator[str]:
    """A server in a thread whose /v1/classify is that handler."""
    started, addresses = threading.Event(), []
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/classify", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        addresses.append(runner.addresses[0])
        started.set()
        return runner

    def work() -> None:
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait(5)
    yield f"http://127.0.0.1:{addresses[0][1]}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


def test_a_run_sees_leaks_and_wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is 200, those to bad requests too; memory grows with every question about it; the host takes a fifth."""
    seen = []
    stolen = count()
    monkeypatch.setattr("service.bench.soak.stolen_seconds", lambda: 0.03 * next(stolen))  # of intervals of 0.15 s

    async def answer(request: web.Request) -> web.Response:
        seen.append(await request.read())
        await asyncio.sleep(0.02)
        return web.json_response({})

    sizes = iter(range(100, 10_000))
    told: list[int] = []
    setting = SoakSetting(seconds=1.5, load=0.5, probe_seconds=0.4, clients=2)
    with server(answer) as url:
        found = run_soak(url, lambda: next(sizes), setting, lambda now: told.append(len(now.intervals)))
    assert told == list(range(11))
    assert 40 < found.saturation <= 110  # two clients, 20 ms an answer; at most 11 of each in the 0.2 s that count
    assert found.rate == pytest.approx(found.saturation / 2)
    assert sum(interval.requests for interval in found.intervals) == pytest.approx(found.rate * 1.5, rel=0.6)
    assert all(0.02 < interval.p50 <= interval.p95 for interval in found.intervals if interval.requests)
    assert found.growth > 0.1
    assert [interval.stolen for interval in found.intervals] == pytest.approx([0.2] * 10)
    assert set(found.faults) <= {"200 to a bad request"}
    assert not found.interrupted


def test_a_slower_service_is_told_from_its_twin() -> None:
    """One takes 30 ms an answer and the other 10, and each is asked the same; the slower one refuses nothing."""
    seen: dict[str, list[bytes]] = {"slow": [], "quick": []}

    async def slow(request: web.Request) -> web.Response:
        seen["slow"].append(await request.read())
        await asyncio.sleep(0.03)
        return web.json_response({})

    async def quick(request: web.Request) -> web.Response:
        seen["quick"].append(body := await request.read())
        await asyncio.sleep(0.01)
        return web.json_response({}, status=200 if body in good else 422)

    setting = TurnSetting(pairs=3, seconds=0.3, clients=2)
    good = {request.body for request in islice(traffic(setting.seed), BODIES) if not request.refused}
    with server(slow) as one, server(quick) as other:
        found = compare(one, other, setting)
    assert len(found.working) == len(found.resting) == 3
    assert 1.5 < found.ratio < 3.5
    assert found.wrong == sum(body not in good for body in seen["slow"]) > 0
    assert seen["slow"][:5] == seen["quick"][:5]


def test_what_is_stopped_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({})

    def stop(now: Soak) -> None:
        if len(now.intervals) == 2:
            raise asyncio.CancelledError  # as Ctrl-C arrives in the task

    with server(answer) as url:
        found = run_soak(url, lambda: 1, SoakSetting(seconds=1, probe_seconds=0.2, clients=1, load=0.05), stop)
    assert len(found.intervals) == 2
