"""The checks of the story, on timelines made by hand; each is also seen to fail."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cli.prometheus import Series
from cli.simulate.timeline import (
    ACTIVATED,
    DRIFT,
    FIGURES,
    LABELS,
    OVERCONFIDENT,
    SHIFT,
    Firing,
    Phase,
    Timeline,
    checks,
    firings,
)

OLD, NEW = "coop-1", "coop-2"


def ece(artifact: str, scope: str, *points: tuple[float, float]) -> Series:
    return Series({"artifact": artifact, "scope": scope}, points)


def firing(name: str, start: float, end: float, **labels: str) -> Firing:
    return Firing(name, "firing", labels, start, end)


def made() -> Timeline:
    series: dict[str, list[Series]] = {name: [] for name in FIGURES}
    series["ece"] = [ece(OLD, scope, (40, 0.03), (90, 0.20), (125, 0.02)) for scope in ("base", "new")] + [
        ece(NEW, scope, (130, 0.3), (150, 0.06)) for scope in ("base", "new")
    ]
    floors = [(OLD, (40, 0.02)), (NEW, (150, 0.02))]
    series["ece_floor"] = [ece(tag, scope, point) for tag, point in floors for scope in ("base", "new")]
    return Timeline(
        setting={"artifact": OLD, "healed": NEW, "compress": 720},
        marks={SHIFT: 50, LABELS: 70, ACTIVATED: 100},
        phases=[Phase("day", 0, 50), Phase("healed", 100, 160)],
        series=series,
        alerts=[firing(DRIFT, 60, 105, scope="new"), firing(OVERCONFIDENT, 80, 105), firing("CandorSlow", 1, 159)],
        end=160,
    )


def test_the_promised_story_passes_every_check() -> None:
    assert set(checks(made()).values()) == {True}


@pytest.mark.parametrize(
    ("check", "alerts"),
    [
        ("quiet before", [firing("CandorOpenSetSurge", 49, 55)]),
        ("drift first", [firing(DRIFT, 71, 105)]),  # behind the first label
        ("drift first", [firing(DRIFT, 49, 105)]),  # before the shift
        ("drift first", []),
        ("over-confident then", [firing(OVERCONFIDENT, 69, 105)]),
        ("over-confident then", []),
        ("resolved", [firing(DRIFT, 60, 159), firing(OVERCONFIDENT, 80, 105)]),
        ("resolved", [firing(DRIFT, 60, 105), firing(OVERCONFIDENT, 80, 105), firing(DRIFT, 120, 160)]),
        ("resolved", []),  # what never fired cannot end
    ],
)
def test_another_order_of_alerts_fails(check: str, alerts: list[Firing]) -> None:
    assert checks(replace(made(), alerts=alerts))[check] is False


def test_a_pending_alert_does_not_count() -> None:
    waiting = Firing(DRIFT, "pending", {}, 10, 160)
    assert set(checks(replace(made(), alerts=[*made().alerts, waiting])).values()) == {True}


def test_ece_above_its_floor_must_be_halved_in_both_scopes_and_there_at_all() -> None:
    timeline = made()
    timeline.series["ece"][3] = ece(NEW, "new", (150, 0.109))
    assert checks(timeline)["ECE down"] is True  # .089 above the floor, before it was .18
    timeline.series["ece"][3] = ece(NEW, "new", (150, 0.111))
    assert checks(timeline)["ECE down"] is False
    del timeline.series["ece"][3]
    assert checks(timeline)["ECE down"] is False
    assert checks(replace(made(), marks={SHIFT: 50, LABELS: 70}))["ECE down"] is False


def test_a_story_that_ended_at_once_fails_everything() -> None:
    empty = Timeline({"artifact": OLD, "healed": None}, {}, [], {name: [] for name in FIGURES}, [], 10)
    assert set(checks(empty).values()) == {False}


def test_the_table_shows_what_is_there_at_the_end_of_a_phase() -> None:
    timeline = made()
    timeline.phases[0] = Phase("day", 0, 42)
    rows = timeline.table()
    assert [(row["phase"], row["artifact"], row["scope"], row["ece"]) for row in rows] == [
        ("day", OLD, "base", 0.03),
        ("day", OLD, "new", 0.03),
    ]  # at 160 the last points are ten seconds old
    assert rows[0]["psi"] is None


def test_stretches_of_alerts_are_told_apart_by_gaps() -> None:
    labels = {"__name__": "ALERTS", "alertname": DRIFT, "alertstate": "firing", "scope": "new", "severity": "warning"}
    found = firings([Series(labels, ((3.0, 1.0), (4.0, 1.0), (5.0, 1.0), (9.0, 1.0)))])
    assert found == [firing(DRIFT, 3, 5, scope="new"), firing(DRIFT, 9, 9, scope="new")]


def test_the_document_is_json_also_where_a_figure_is_none() -> None:
    timeline = made()
    timeline.series["gap"] = [Series({"artifact": OLD, "scope": "new"}, ((1.0, float("nan")), (2.0, 0.5)))]
    document = json.loads(json.dumps(timeline.to_json(), allow_nan=False))
    assert document["series"]["gap"] == [{"artifact": OLD, "scope": "new", "points": [[1.0, None], [2.0, 0.5]]}]
    assert document["alerts"][0] == {"name": DRIFT, "state": "firing", "labels": {"scope": "new"}, "start": 60, "end": 105}
