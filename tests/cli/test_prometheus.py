"""The real Prometheus, asked for numbers that are worked by hand."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
import yaml

from candor.errors import CandorError, InvalidInput
from cli.prometheus import Sample, alerts, query, query_range, running_prometheus, samples, scrape_config

RULES = """
groups:
  - name: tests
    rules:
      - {record: "candor_tests:apples:double", expr: 2 * candor_tests_apples_total}
      - alert: TooMany
        expr: candor_tests_apples_total > 4
        labels: {severity: page}
        annotations: {summary: "{{ $value }} apples"}
      - {alert: Waits, expr: candor_tests_apples_total > 4, for: 1h}
"""
METRICS = b'candor_tests_apples_total{kind="red"} 5\ncandor_tests_apples_total{kind="green"} 2.5\n'


def test_a_missing_binary_is_a_sentence_with_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidInput, match="apt install prometheus"), running_prometheus({}, tmp_path):
        raise AssertionError("it became ready")
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_of_several_replicas() -> None:
    made = scrape_config({"candor": ["127.0.0.1:1", "127.0.0.1:2"]}, "5s", ["a.yml"])
    assert made["scrape_configs"] == [
        {"job_name": "candor", "static_configs": [{"targets": ["127.0.0.1:1", "127.0.0.1:2"]}]}
    ]
    assert made["rule_files"] == ["a.yml"]
    assert set(made["global"].values()) == {"5s"}


@contextmanager
def exporting(body: bytes) -> Iterator[str]:
    """A server that answers everything with `body`; its `host:port`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def processes_with(text: str) -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if any(text in part for part in p.info["cmdline"] or ())]


def wait_for_two_samples(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        series = samples(url, "candor_tests:apples:double[1m]")
        if series and len(series[0].points) > 1 and alerts(url):
            return
        time.sleep(0.2)
    raise AssertionError("nothing was scraped")


@pytest.mark.e2e
@pytest.mark.slow
def test_what_was_scraped_can_be_asked_for_and_nothing_stays_behind(tmp_path: Path) -> None:
    start = time.time()
    with exporting(METRICS) as target:
        config = yaml.safe_dump(scrape_config({"tests": [target]}))
        with running_prometheus(config, tmp_path / "p", {"tests.yml": RULES}) as url:
            wait_for_two_samples(url)
            assert query(url, "sum(candor_tests_apples_total)") == [Sample({}, 7.5)]
            (red,) = query(url, 'candor_tests_apples_total{kind="red"}')
            assert red.value == 5
            assert red.labels == {
                "__name__": "candor_tests_apples_total",
                "job": "tests",
                "instance": target,
                "kind": "red",
            }
            assert query(url, "1 + 1") == [Sample({}, 2)]
            assert math.isnan(query(url, "0 / (0 * sum(candor_tests_apples_total))")[0].value)
            assert query(url, "1 / (0 * sum(candor_tests_apples_total))")[0].value == math.inf
            assert query(url, "candor_tests_apples_total", time=start - 60) == []
            times = [when for when, _ in samples(url, "candor_tests:apples:double[1m]")[0].points]
            assert start <= times[0] < times[1] <= time.time()
            (doubled,) = query_range(url, "sum(candor_tests:apples:double)", times[1], times[1] + 1, 0.5)
            assert doubled.points == tuple((times[1] + step, 15) for step in (0, 0.5, 1))
            found = {alert.name: alert for alert in alerts(url)}
            assert (found["TooMany"].state, found["Waits"].state) == ("firing", "pending")
            assert found["TooMany"].labels["severity"] == "page"
            assert found["TooMany"].annotations == {"summary": "5 apples"}
            assert found["TooMany"].value == 5
            assert start <= found["TooMany"].since <= time.time()
            for bad in ("sum(", "candor_tests_apples_total[1m]"):
                with pytest.raises(CandorError, match=r"sum|matrix"):
                    query(url, bad)
            with pytest.raises(CandorError, match="has no range"):
                samples(url, "up")
            assert len(processes_with(str(tmp_path))) == 1
    assert processes_with(str(tmp_path)) == []
    with pytest.raises(CandorError, match="no answer"):
        query(url, "1")


@pytest.mark.e2e
@pytest.mark.slow
def test_one_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(CandorError, match=r"did not become ready(.|\n)*scrape_intervall"),
        running_prometheus({"global": {"scrape_intervall": "1s"}}, tmp_path),
    ):
        raise AssertionError("it became ready")
