"""Every query of every dashboard, asked of a real Prometheus that scrapes the real service under traffic with feedback."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from candor.clip.artifact import load_config
from cli.prometheus import Sample, query, running_prometheus, scrape_config
from cli.server import running_service
from cli.simulate.stream import Stream
from monitoring.alert import AlertTimes
from monitoring.alerts import alerts, all_alerts
from monitoring.dashboards import files
from monitoring.rules import rules
from monitoring.service_alerts import JOB
from monitoring.yaml_text import yaml_text

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(900),  # the first one tunes the artifact and sends the traffic
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
]

WINDOWS = ("5m", "10m")
INTERVAL = "1s"
PICTURES = 480  # half of them of base labels, half of new ones
AT_ONCE = 8
SCOPES = ["base", "new"]

BOARDS: dict[str, Any] = {Path(name).stem: json.loads(text) for name, text in files(WINDOWS).items()}


@dataclass
class Watched:
    """What is running, and what was sent to it."""

    prometheus: str
    artifact: str
    seen: list[tuple[str, float, bool]] = field(default_factory=list)  # scope, confidence, correct


@dataclass(frozen=True)
class Asked:
    """A query as Grafana would send it, and where it stands."""

    expr: str
    legend: str
    repeated: bool


def targets() -> list[Any]:
    found = []
    for uid, board in BOARDS.items():
        repeated = False
        for panel in board["panels"]:
            if panel["type"] == "row":
                repeated = panel.get("repeat") == "scope"
                continue
            for target in panel["targets"]:
                asked = Asked(target["expr"], target["legendFormat"], repeated)
                found.append(pytest.param(asked, id=f"{uid}-{panel['title']}-{target['refId']}"))
    return found


def as_grafana(expr: str, artifact: str, scope: str = "(base|new)") -> str:
    """With the variables put in: Grafana escapes regular expressions in them."""
    given = {
        "artifact": re.escape(artifact).replace("\\", "\\\\"),
        "scope": scope,
        "window": WINDOWS[0],
        "route": ".+",
        "__rate_interval": WINDOWS[0],
    }
    return re.sub(r"\$\{?(\w+)\}?", lambda match: given[match[1]], expr)


def sent(url: str, stream: Stream, numbers: range) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Scope, true label and result of each picture."""
    pictures = [stream.picture(number, shifted=number > PICTURES // 2) for number in numbers]
    body = [("image", ("x.png", picture.file, "image/png")) for picture in pictures]
    form = {"labels": json.dumps(pictures[0].labels), "top_k": "1"}
    answer = httpx.post(f"{url}/v1/classify", files=body, data=form, timeout=120).raise_for_status().json()
    for picture, result in zip(pictures, answer["results"], strict=True):
        yield SCOPES[numbers.start % 2], picture.label, result


@pytest.fixture(scope="module")
def watched(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    home = tmp_path_factory.mktemp("watched")
    config = load_config(built / "artifact")
    rule_files = {
        "recording.yml": yaml_text(rules(WINDOWS, INTERVAL)),
        "alerts.yml": yaml_text(alerts(AlertTimes.of(WINDOWS, INTERVAL), INTERVAL)),
    }
    with running_service(built / "artifact", built / "index", home / "service.log") as url:
        scrape = scrape_config({JOB: [url.removeprefix("http://")]}, INTERVAL)
        with running_prometheus(scrape, home / "prometheus", rule_files) as prometheus:
            running = Watched(prometheus, config.tag)
            wait_for(prometheus, f'min_over_time(up{{job="{JOB}"}}[10s]) and count_over_time(up[10s]) >= 3')
            send(url, Stream(config, 5), running)
            labelled = f"sum(candor:feedback:increase{WINDOWS[0]}) > {0.9 * len(running.seen):.0f}"
            wait_for(prometheus, f"{labelled} and sum(candor:psi:ratio{WINDOWS[0]}) > -1")
            yield running


def send(url: str, stream: Stream, running: Watched) -> None:
    """Pictures in batches, each with its true label; the last label of a batch is none of those that were named."""
    for first in range(0, PICTURES, 2 * AT_ONCE):
        for start in (first, first + 1):
            answers = list(sent(url, stream, range(start, first + 2 * AT_ONCE, 2)))
            items = [{"prediction_id": result["prediction_id"], "label": label} for _, label, result in answers]
            items[-1]["label"] = "something else entirely"
            told = (
                httpx.post(f"{url}/v1/feedback", json={"feedback": items}, timeout=60).raise_for_status().json()["results"]
            )
            assert [each["status"] for each in told] == ["stored"] * len(items)
            assert told[-1]["outcome"] == "outside"
            running.seen += [
                (scope, result["confidence"], result["label"] == label) for scope, label, result in answers[:-1]
            ]


def wait_for(prometheus: str, expr: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not query(prometheus, expr):
        assert time.monotonic() < deadline, f"nothing yet for {expr}"
        time.sleep(0.5)


def numbers_of(samples: list[Sample]) -> list[float]:
    return [sample.value for sample in samples if not math.isnan(sample.value)]


@pytest.mark.parametrize("asked", targets())
def test_a_query_returns_data(watched: Watched, asked: Asked) -> None:
    for scope in SCOPES if asked.repeated else ["(base|new)"]:
        samples = query(watched.prometheus, as_grafana(asked.expr, watched.artifact, scope))
        assert numbers_of(samples), f"no data for {scope}"
        assert all(math.isfinite(value) for value in numbers_of(samples))
        if "{{scope}}" in asked.legend:
            assert {sample.labels["scope"] for sample in samples} == set(SCOPES)
        missing = [name for name in re.findall(r"\{\{(\w+)\}\}", asked.legend) for s in samples if name not in s.labels]
        assert missing == []  # a legend would show an empty word


@pytest.mark.parametrize("uid", sorted(BOARDS))
def test_the_columns_of_a_table_have_the_same_rows(watched: Watched, uid: str) -> None:
    tables = [panel for panel in BOARDS[uid]["panels"] if panel["type"] in {"table", "xychart", "barchart"}]
    for panel in tables:
        rows = []
        for target in panel["targets"]:
            samples = query(watched.prometheus, as_grafana(target["expr"], watched.artifact, "base"))
            rows.append({tuple(sorted(sample.labels.items())) for sample in samples})
        assert all(
            {name for name, _ in row} == {name for name, _ in next(iter(rows[0]))} for rowset in rows for row in rowset
        )
        if panel["type"] == "xychart":
            assert all(each == rows[0] for each in rows)  # what is missing would be drawn at zero


@pytest.mark.parametrize("scope", SCOPES)
def test_the_reliability_diagram_is_that_of_the_answers(watched: Watched, scope: str) -> None:
    (chart,) = (panel for panel in BOARDS["candor-calibration"]["panels"] if panel["type"] == "xychart")
    confidence, accuracy, *_, labelled = (
        {s.labels["bin"]: s.value for s in query(watched.prometheus, as_grafana(target["expr"], watched.artifact, scope))}
        for target in chart["targets"]
    )
    expected: dict[str, list[tuple[float, bool]]] = {}
    for where, sure, right in watched.seen:
        if where == scope:
            expected.setdefault(f"{max(math.ceil(sure * 20) - 1, 0) / 20:.2f}", []).append((sure, right))
    assert confidence.keys() == accuracy.keys() == expected.keys()
    # an increase is extrapolated by up to a scrape, which is much of a short run, but by the same factor in every bin
    factor = sum(labelled.values()) / sum(map(len, expected.values()))
    assert 1 - 1e-9 <= factor <= 1.2
    for name, answers in expected.items():
        assert labelled[name] == pytest.approx(factor * len(answers), rel=1e-6)
        assert confidence[name] == pytest.approx(sum(sure for sure, _ in answers) / len(answers), abs=0.01)
        assert accuracy[name] == pytest.approx(sum(right for _, right in answers) / len(answers), abs=0.01)


@pytest.mark.parametrize("uid", sorted(BOARDS))
def test_variables_and_marks_can_be_asked(watched: Watched, uid: str) -> None:
    for variable in BOARDS[uid]["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()  # type: ignore[union-attr]
            found = {sample.labels[label] for sample in query(watched.prometheus, f"group by ({label}) ({selector})")}
            assert {"artifact": watched.artifact, "route": "/v1/classify"}[label] in found
    for mark in BOARDS[uid]["annotations"]["list"]:  # there may be no alert; a query that makes no sense is refused
        fired = {sample.labels["alertname"] for sample in query(watched.prometheus, mark["target"]["expr"])}
        assert fired <= {alert.name for alert in all_alerts(AlertTimes())}
