"""`candor bench soak` without services: what a user who stops it is left with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from cli.main import app
from service.bench.ageing import Turns, TurnSetting
from service.bench.soak import Interval, Soak


def test_ctrl_c_in_the_last_comparison_keeps_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def service(*_: object) -> Iterator[tuple[str, SimpleNamespace]]:
        yield "working", SimpleNamespace()

    @contextmanager
    def twin(*_: object) -> Iterator[str]:
        yield "resting"

    def compare(working: str, resting: str, setting: TurnSetting) -> Turns:
        if setting.seed != TurnSetting.seed:  # behind the load
            raise KeyboardInterrupt
        return Turns((1.0,), (1.0,), 0)

    found = Soak(10, 8, [Interval(minute, 480, 0, 0.1, 0.2, 1e9, 0.0) for minute in range(10)])
    monkeypatch.setattr("cli.bench.soak._service", service)
    monkeypatch.setattr("cli.bench.soak._own_service", twin)
    monkeypatch.setattr("cli.bench.soak.compare", compare)
    monkeypatch.setattr("cli.bench.soak.run_soak", lambda *_: found)
    monkeypatch.setattr("cli.bench.soak.signal.signal", lambda *_: None)
    done = CliRunner().invoke(app, ["bench", "soak", "--json"])
    told = json.loads(done.stdout)
    assert len(told["intervals"]) == 10
    assert told["interrupted"] is True
    assert told["ageing"] is told["aged"] is None
