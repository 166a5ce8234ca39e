"""Replicas of the real service under a stream of predictions and feedback, of which each client remembers all."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import httpx
import psutil

from cli.server import free_port, service_command, service_environment, wait_until_ready
from glyph_world.render import Scene, render
from tests.workers import only, workers_of

OUTSIDE = "something else"


class Replica:
    """A replica with workers, started, killed and started again at the same address with the same state.

    Args:
        artifact: that it serves.
        home: of its state, its metrics and its log.
        environment: of its service.
    """

    def __init__(self, artifact: Path, home: Path, environment: dict[str, str]) -> None:
        self._artifact, self._home = artifact, home
        self._environment = {"CANDOR_STATE": str(home / "state"), **environment}
        self.port = free_port()
        self.generation = 0
        self.killed_at: list[float] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def start(self) -> None:
        self._home.mkdir(exist_ok=True)
        log = self._home / f"log{self.generation}"
        environment = service_environment(self._artifact, None, self._home / "bentoml", self._environment)
        self.generation += 1
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                service_command("127.0.0.1", self.port),
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_until_ready(self.url, self._process, log)

    def wait_for(self, workers: int) -> None:
        """Until so many workers are ready."""
        log = self._home / f"log{self.generation - 1}"
        deadline = time.monotonic() + 120
        while log.read_text().count('"ready"') < workers:
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)

    def workers(self) -> list[psutil.Process]:
        return workers_of(self.url)

    def kill(self) -> None:
        """SIGKILL to all of its processes at once."""
        if self._process is None:
            return
        everyone = [self._process.pid, *(child.pid for child in psutil.Process(self._process.pid).children(recursive=True))]
        self.killed_at.append(time.time())
        for pid in everyone:
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


@dataclass(frozen=True)
class Prediction:
    """An attempt at one.

    Attributes:
        generation: of the replica that was asked.
        question: which picture.
        sent: unix time.
        received: unix time; when the attempt broke, where it did.
        confidence: None where it broke: the replica may have counted it or not.
    """

    generation: int
    question: int
    sent: float
    received: float
    confidence: float | None


@dataclass(frozen=True)
class Acknowledged:
    """A feedback that was acknowledged.

    Attributes:
        replica: that acknowledged it.
        sent, received: unix time of its first attempt, and of the acknowledgement.
        outcome: as the service answered.
        confidence: of the prediction.
        again: whether it was sent before to a replica that died.
    """

    replica: int
    sent: float
    received: float
    outcome: str
    confidence: float
    again: bool


@dataclass
class Stream:
    """One client that asks one replica for labels of one scope, one picture after the other.

    No other makes its replica count in its scope, so what a counter holds is a known prefix of its answers.
    """

    replicas: Sequence[Replica]
    replica: int
    scope: str
    labels: list[str]
    pictures: Sequence[tuple[bytes, str]]
    pause: float = 0.0
    predictions: list[Prediction] = field(default_factory=list)
    feedback: list[Acknowledged] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._clients: dict[int, httpx.Client] = {}
        self._random = random.Random(f"{self.replica} {self.scope}")
        self._thread = threading.Thread(target=self._run)

    def begin(self, worker: psutil.Process) -> None:
        """Connect to one worker, and go on by itself."""
        with only(worker, self.replicas[self.replica].workers()):
            self._turn(0)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        while self._clients:  # whoever asks after the end gets a new one, and ends again
            self._clients.popitem()[1].close()

    def ask(self, replica: int, question: int) -> httpx.Response:
        data = {"labels": json.dumps(self.labels), "open_set": "false", "top_k": "1"}
        files = {"image": ("x.png", self.pictures[question][0])}
        return self._client(replica).post("/v1/classify", files=files, data=data)

    def _client(self, replica: int) -> httpx.Client:
        if replica not in self._clients:
            self._clients[replica] = httpx.Client(base_url=self.replicas[replica].url, timeout=60)
        return self._clients[replica]

    def _run(self) -> None:
        turn = 0
        while not self._over.is_set():
            turn += 1
            try:
                self._turn(turn % len(self.pictures))
            except Exception as error:  # it would end the thread unseen
                self.problems.append(repr(error))
                return
            time.sleep(self.pause)

    def _turn(self, question: int) -> None:
        generation, sent = self.replicas[self.replica].generation, time.time()
        try:
            response = self.ask(self.replica, question)
        except httpx.ConnectError:  # it is down
            time.sleep(0.1)
            return
        except httpx.TransportError:
            self.predictions.append(Prediction(generation, question, sent, time.time(), None))
            return
        if response.status_code == 503:  # it is loading
            time.sleep(0.1)
            return
        (result,) = response.raise_for_status().json()["results"]
        if result["scope"] != self.scope:
            self.problems.append(f"an answer in {result['scope']}")
        self.predictions.append(Prediction(generation, question, sent, time.time(), result["confidence"]))
        if self._random.random() < 0.5:
            self._give_feedback(result, self.pictures[question][1])

    def _give_feedback(self, result: dict[str, object], label: str) -> None:
        draw = self._random.random()  # some are said to be another, so that confidence is not always right
        wanted = OUTSIDE if draw < 0.05 else self._random.choice(self.labels) if draw < 0.2 else label
        replica, sent = self._random.randrange(len(self.replicas)), time.time()
        for attempt in range(100):
            try:
                sent_back = {"prediction_id": result["prediction_id"], "label": wanted}
                response = self._client(replica).post("/v1/feedback", json=sent_back)
            except httpx.TransportError:
                response = None
            if response is not None and response.status_code != 503:
                (answer,) = response.raise_for_status().json()["results"]
                confidence = result["confidence"]
                assert isinstance(confidence, float)
                entry = Acknowledged(replica, sent, time.time(), answer["outcome"], confidence, attempt > 0)
                self.feedback.append(entry)
                return
            replica = (replica + 1) % len(self.replicas)
            time.sleep(0.05)
        self.problems.append("a feedback that nobody took")


def pictures(scenes: Sequence[tuple[str, Scene]]) -> list[tuple[bytes, str]]:
    """PNG files and their labels."""
    made = []
    for label, scene in scenes:
        buffer = BytesIO()
        render(scene).save(buffer, "PNG")
        made.append((buffer.getvalue(), label))
    return made
