from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitoring.alert import AlertTimes
from monitoring.alerts import all_alerts
from monitoring.dashboards import files
from monitoring.durations import WINDOWS
from monitoring.rules import rules
from service.metrics import exported_names

MONITORING = Path(__file__).parent.parent.parent / "monitoring"
UIDS = ["candor-calibration", "candor-drift", "candor-label-sets", "candor-service"]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
OF_PROMETHEUS = {"up", "ALERTS"}
NAME = re.compile(r"\b(?:candor[_:][a-z0-9_:]*|up|ALERTS)(?:\$\{window\})?(?=[{\[)\s]|$)")

BOARDS: dict[str, Any] = {Path(name).stem: json.loads(text) for name, text in files().items()}


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        if panel["type"] == "row":
            assert panel["panels"] == []  # else panels would hide in a row that is folded
        else:
            yield panel


PANELS = [pytest.param(panel, id=f"{uid}-{panel['title']}") for uid, board in BOARDS.items() for panel in panels(board)]


def words(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from words(inner)
    elif isinstance(value, str):
        yield value


def recorded(window: str) -> set[str]:
    groups: Any = rules((window,))["groups"]
    return {rule["record"] for group in groups for rule in group["rules"]}


def test_the_committed_files_are_those_that_the_code_makes() -> None:
    kept = {f"grafana/dashboards/{path.name}": path.read_text() for path in (MONITORING / "grafana/dashboards").iterdir()}
    assert kept == files()


def test_making_them_twice_gives_the_same_text() -> None:
    assert files() == files()


def test_there_are_four_with_fixed_uids() -> None:
    assert sorted(BOARDS) == UIDS
    assert sorted(board["uid"] for board in BOARDS.values()) == UIDS
    assert len({board["title"] for board in BOARDS.values()}) == 4


@pytest.mark.parametrize("uid", UIDS)
def test_panels_have_numbers_of_their_own(uid: str) -> None:
    numbers = [panel["id"] for panel in BOARDS[uid]["panels"]]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("uid", UIDS)
def test_panels_fill_the_grid_and_do_not_overlap(uid: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in BOARDS[uid]["panels"]:
        at = panel["gridPos"]
        cells = [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
        assert [taken[cell] for cell in cells if cell in taken] == []
        taken |= dict.fromkeys(cells, panel["title"])
    height = max(y for _, y in taken) + 1
    assert len(taken) == 24 * height  # no hole, and nothing beyond the 24 columns
    assert max(x for x, _ in taken) == 23


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_teaches_how_to_read_it_and_asks_something(panel: dict[str, Any]) -> None:
    assert len(panel["description"].split()) >= 12
    assert panel["description"].rstrip().endswith((".", ")"))
    assert panel["targets"]
    assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGHIJ"[: len(panel["targets"])])
    assert all(target["expr"].strip() for target in panel["targets"])
    assert all(target["instant"] != target["range"] for target in panel["targets"])
    in_axis = panel["options"].get("yAxis", {}).get("unit")
    assert panel["fieldConfig"]["defaults"].get("unit", in_axis) in {"short", "percentunit", "s", "reqps"}


@pytest.mark.parametrize("uid", UIDS)
def test_data_come_from_the_chosen_prometheus_alone(uid: str) -> None:
    board = BOARDS[uid]
    sources = [panel["datasource"] for panel in panels(board)]
    sources += [variable["datasource"] for variable in board["templating"]["list"] if variable["type"] == "query"]
    sources += [mark["datasource"] for mark in board["annotations"]["list"]]
    assert [source for source in sources if source != SOURCE] == []
    assert [
        target for panel in panels(board) for target in panel["targets"] if target.get("datasource", SOURCE) != SOURCE
    ] == []


@pytest.mark.parametrize("uid", UIDS)
def test_time_is_relative_and_variables_are_all_there(uid: str) -> None:
    board = BOARDS[uid]
    assert board["time"]["to"] == "now"
    assert re.fullmatch(r"now-\d+[hd]", board["time"]["from"])
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert {"datasource", "artifact", "scope", "window", "runbooks"} <= variables.keys()
    assert variables["window"]["query"].split(",") == list(WINDOWS)
    assert variables["window"]["current"]["value"] in WINDOWS
    built_in = {"__rate_interval", "__all"}
    used = {name for text in words(board) for name in re.findall(r"\$\{?([a-z_]+)\}?", text)}
    assert used - built_in <= variables.keys()
    assert {"artifact", "scope", "window"} <= used


@pytest.mark.parametrize("uid", UIDS)
def test_every_series_is_one_that_is_exported_or_recorded(uid: str) -> None:
    known = exported_names() | OF_PROMETHEUS
    by_rule = {re.sub("6h$", "${window}", name) for name in recorded("6h")}
    board = BOARDS[uid]
    asked = [target["expr"] for panel in panels(board) for target in panel["targets"]]
    asked += [mark["target"]["expr"] for mark in board["annotations"]["list"]]
    asked += [
        each["query"].removeprefix("label_values(") for each in board["templating"]["list"] if each["type"] == "query"
    ]
    for expr in asked:
        found = {match[0] for match in NAME.finditer(expr.replace(",", " "))}
        assert found, expr
        assert found - known - by_rule == set(), expr


def test_a_name_that_nobody_exports_is_seen() -> None:
    found = {match[0] for match in NAME.finditer('sum(rate(candor_nonsense_total{a="b"}[5m])) / candor:ece:ratio${window}')}
    assert found == {"candor_nonsense_total", "candor:ece:ratio${window}"}
    assert "candor_nonsense_total" not in exported_names()


def test_links_lead_to_the_runbooks_of_alerts_that_exist() -> None:
    links = [link["url"] for board in BOARDS.values() for panel in panels(board) for link in panel.get("links", [])]
    names = {re.fullmatch(r"\$\{runbooks\}/(\w+)\.md", url)[1] for url in links}  # type: ignore[index]
    assert names == {alert.name for alert in all_alerts(AlertTimes())}
    missing = [name for name in names if not (MONITORING.parent / "docs/runbooks" / f"{name}.md").is_file()]
    assert missing == []


@pytest.mark.parametrize("uid", UIDS)
def test_the_dashboards_link_to_each_other_with_time_and_variables(uid: str) -> None:
    (link,) = BOARDS[uid]["links"]
    assert (link["type"], link["tags"], link["includeVars"], link["keepTime"]) == ("dashboards", ["candor"], True, True)
    assert "candor" in BOARDS[uid]["tags"]


def test_the_reliability_diagram_draws_accuracy_over_confidence() -> None:
    (chart,) = (panel for panel in panels(BOARDS["candor-calibration"]) if panel["type"] == "xychart")
    joined, organised, ordered = chart["transformations"]
    names = organised["options"]["renameByName"]
    columns = {names[f"Value #{target['refId']}"] for target in chart["targets"]}
    assert joined["id"] == "merge"
    assert ordered["options"]["sort"] == [{"field": "confidence"}]  # lines go from left to right
    drawn = [(each["x"]["matcher"]["options"], each["y"]["matcher"]["options"]) for each in chart["options"]["series"]]
    assert [x for x, _ in drawn] == ["confidence"] * 4
    assert [y for _, y in drawn] == ["accuracy", "calibrated", "noise, upper", "noise, lower"]
    assert {y for _, y in drawn} | {"confidence"} <= columns
    defaults = chart["fieldConfig"]["defaults"]
    assert (defaults["min"], defaults["max"], defaults["custom"]["show"]) == (0, 1, "points")
    lines = {
        o["matcher"]["options"]
        for o in chart["fieldConfig"]["overrides"]
        for p in o["properties"]
        if p["id"] == "custom.show"
    }
    assert lines == {"calibrated", "noise, upper", "noise, lower"}
