"""The callers against a small server of our own: their rate, the delay of labels, and what they count."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from candor.errors import CandorError
from cli.simulate.driver import Traffic
from cli.simulate.stream import Picture


class Numbered:
    """A stream whose label is its number."""

    def picture(self, number: int, shifted: bool) -> Picture:
        return Picture(b"png", f"label {number}", ("a", "b"), shifted)


class Service(ThreadingHTTPServer):
    def __init__(self, refuse: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refuse = refuse
        self.asked: list[float] = []
        self.told: list[tuple[float, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, answer = (503, {"error": "full"}) if self.server.refuse else (200, self._answer(body))
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, body: bytes) -> dict[str, Any]:
        if self.path == "/v1/classify":
            assert json.loads(re.search(rb'name="labels"\r\n\r\n(.*?)\r\n', body)[1]) == ["a", "b"]  # type: ignore[index]
            self.server.asked.append(time.monotonic())
            return {"results": [{"prediction_id": f"id {len(self.server.asked)}"}]}
        sent = json.loads(body)["feedback"]
        self.server.told += [(time.monotonic(), each) for each in sent]
        return {"results": [{"status": "stored", "outcome": "wrong"} for _ in sent]}

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    server = Service()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_question_before_its_turn_and_each_label_once_and_late(service: Service) -> None:
    traffic = Traffic(service.url, Numbered(), rate=50, delay=0.5)  # type: ignore[arg-type]
    started, began = time.monotonic(), time.time()
    with traffic.running():
        time.sleep(1)
        traffic.shift()
        time.sleep(1.5)
    seen = traffic.seen
    assert len(service.asked) == seen.asked > 20  # of 125, on however busy a machine
    assert all(when - started >= number / 50 for number, when in enumerate(service.asked))
    told = [each["prediction_id"] for _, each in service.told]
    assert len(told) == len(set(told)) == seen.labelled > 10
    order = {f"id {n + 1}": when for n, when in enumerate(service.asked)}
    assert min(when - order[each["prediction_id"]] for when, each in service.told) >= 0.5
    assert {each["label"].split()[0] for _, each in service.told} == {"label"}
    assert 0 < seen.shifted_labels < seen.labelled
    assert seen.errors == {}
    assert (seen.first_shifted_label or 0.0) >= began + 1.5  # dusk, and the delay


def test_refusals_are_counted_and_do_not_stop_the_callers(service: Service) -> None:
    service.refuse = True
    traffic = Traffic(service.url, Numbered(), rate=50, delay=0)  # type: ignore[arg-type]
    with traffic.running():
        time.sleep(0.5)
        traffic.check()
    assert (traffic.seen.asked, list(traffic.seen.errors)) == (0, ['{"error": "full"}'])
    assert traffic.seen.errors.total() > 5


def test_callers_that_reach_nobody_say_so() -> None:
    traffic = Traffic("http://127.0.0.1:9", Numbered(), rate=50, delay=0)  # type: ignore[arg-type]
    with traffic.running():
        time.sleep(0.5)
        with pytest.raises(CandorError, match="the simulated callers gave up"):
            traffic.check()
