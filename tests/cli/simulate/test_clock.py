"""Compressed windows: by hand."""

from __future__ import annotations

import pytest

from cli.simulate.clock import Clock
from monitoring.alert import AlertTimes
from monitoring.durations import check_windows
from monitoring.rules import rules


def test_windows_and_patience_of_production_are_compressed_in_proportion() -> None:
    clock = Clock(720)  # an hour in five seconds
    assert clock.windows == ("5s", "30s", "2m", "14m")
    # 15m would be 1.25 s, and 5m less than one: the least that there must be
    times = AlertTimes(recent="5s", scored="30s", lately="2m", usual="14m", requests="10s", hold="2s", soon="10s")
    assert clock.alert_times == times
    assert clock.hours(8) == 40


@pytest.mark.parametrize("compress", [60, 301, 720, 899, 900])
def test_every_compression_gives_windows_that_the_rules_take(compress: int) -> None:
    windows = Clock(compress).windows
    assert check_windows(windows, "1s") == windows
    assert len(rules(windows, "1s")["groups"]) == 5  # type: ignore[arg-type]
