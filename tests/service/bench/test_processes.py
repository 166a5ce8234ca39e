"""CPU time is that of the process that works, and the load generator counts what it sends."""

from __future__ import annotations

import http.server
import json
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from candor.errors import CandorError
from service.bench.cells import Turn
from service.bench.load import send
from service.bench.processes import Helper, cpu_seconds, serving_process, stolen_seconds
from service.bench.raw import repeat
from service.bench.target import total
from service.bench.traffic import Body


def burn(seconds: float) -> tuple[int, float]:
    """Take CPU time: (who did, how much)."""
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass
    return os.getpid(), time.process_time() - start


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux")
def test_stolen_time_is_the_kernels() -> None:
    """The eighth number behind `cpu` in /proc/stat, in ticks, of all cores together."""
    ticks = int(Path("/proc/stat").read_text().split()[8])
    cores = sum(line.startswith("cpu") for line in Path("/proc/stat").read_text().splitlines()) - 1
    assert stolen_seconds() == pytest.approx(ticks / os.sysconf("SC_CLK_TCK") / cores, abs=0.5)


@pytest.mark.slow
def test_cpu_time_of_another_process() -> None:
    with Helper() as helper:
        pid, _ = helper.call(burn, 0)
        assert pid != os.getpid()
        process = psutil.Process(pid)
        before, own = cpu_seconds(process), cpu_seconds(psutil.Process())
        assert helper.call(burn, 0.5)[0] == pid  # it stays
        assert cpu_seconds(process) - before == pytest.approx(0.5, abs=0.05)
        assert cpu_seconds(psutil.Process()) - own < 0.2
        idle = cpu_seconds(process)
        time.sleep(0.2)
        assert cpu_seconds(process) - idle <= 0.02


def listen(memory: int, ports: multiprocessing.Queue[int], done: multiprocessing.Event) -> None:  # type: ignore[valid-type]
    """A process that holds memory and a listening socket."""
    ballast = bytearray(os.urandom(1024)) * (memory // 1024)
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    ports.put(server.server_port)
    done.wait(30)
    ports.put(len(ballast))


@pytest.mark.slow
def test_the_serving_process_is_found_by_its_port() -> None:
    context = multiprocessing.get_context("spawn")
    ports, done = context.Queue(), context.Event()
    process = context.Process(target=listen, args=(10**6, ports, done))
    process.start()
    try:
        port = ports.get(timeout=30)
        assert serving_process(port).pid == process.pid
    finally:
        done.set()
        process.join(30)
    with pytest.raises(CandorError, match=f"port {port}"):
        serving_process(port)


class Counting(http.server.BaseHTTPRequestHandler):
    """Answers with the body's length and how many requests are in flight; refuses "bad", hangs up on "worse"."""

    protocol_version = "HTTP/1.1"
    in_flight, most = 0, 0
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with Counting.lock:
            Counting.in_flight += 1
            Counting.most = max(Counting.most, Counting.in_flight)
        time.sleep(0.01)
        with Counting.lock:
            Counting.in_flight -= 1
        if body == b"worse":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        content = json.dumps({"length": len(body), "type": self.headers["content-type"]}).encode()
        self.send_response(500 if body == b"bad" else 200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def counting() -> Iterator[str]:
    Counting.in_flight = Counting.most = 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_load_is_what_was_asked_for(counting: str) -> None:
    bodies = [Body(b"a", "text/plain"), Body(b"bcd", "text/x")]
    load = send(counting, bodies, clients=3, seconds=0.2)
    assert Counting.most == 3
    assert {(a.body, a.content) for a in load.answers} == {
        (0, b'{"length": 1, "type": "text/plain"}'),
        (1, b'{"length": 3, "type": "text/x"}'),
    }
    assert abs(sum(a.body for a in load.answers) - len(load.answers) / 2) <= 0.5  # in turn
    assert all(a.seconds >= 0.01 for a in load.answers)
    assert load.seconds >= 0.2
    assert max(a.seconds for a in load.answers) <= load.seconds < 10
    assert 0 < load.cpu_seconds < load.seconds
    assert len(load.answers) <= 3 * load.seconds / 0.01


def test_each_client_sends_one_request_at_least(counting: str) -> None:
    assert len(send(counting, [Body(b"a", "text/plain")], clients=4, seconds=0).answers) == 4


def test_bodies_are_sent_once(counting: str) -> None:
    bodies = [Body(b"a" * length, "text/plain") for length in range(1, 6)]
    load = send(counting, bodies, clients=2, seconds=100, once=True)
    assert sorted(a.body for a in load.answers) == [0, 1, 2, 3, 4]


def test_errors_are_answers_too(counting: str) -> None:
    bodies = [Body(body, "text/plain") for body in (b"bad", b"worse", b"good")]
    answers = send(counting, bodies, clients=1, seconds=100, once=True).answers
    assert [answer.status for answer in answers] == [500, 0, 200]
    assert b"Disconnected" in answers[1].content


def test_images_of_a_batch_count_as_long_as_the_batch() -> None:
    turn = repeat(lambda: time.sleep(0.02), images=4, seconds=0.05)
    assert turn.images == len(turn.latencies) in (8, 12)
    assert all(latency >= 0.02 for latency in turn.latencies)
    assert turn.each == pytest.approx(turn.seconds / turn.images)
    busy = repeat(lambda: burn(0.05), images=1, seconds=0.1)
    assert busy.cpu_seconds == pytest.approx(0.05 * len(busy.latencies), rel=0.2)
    assert isinstance(busy, Turn)


def test_counters_are_added_up() -> None:
    text = 'a_sum{x="1"} 3.0\na_sum{x="}2"} 4.0\na_sum_more 9.0\n# a_sum 8.0\nb_sum 5.0\n'
    assert total(text, "a_sum") == 7
    assert total(text, "b_sum") == 5
    assert total(text, "c_sum") == 0
