"""A real service that starts, switches artifacts under load, and ends, without losing a request."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import combinations
from pathlib import Path

import httpx
import pytest
import torch
from PIL import Image

from candor.calibration import TemperatureCalibrator
from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, save_artifact
from candor.clip.artifact import PROMPT, BackboneRef, load_artifact
from candor.clip.backbone import Backbone
from candor.errors import CandorError
from cli.server import free_port, running_service, service_command, service_environment, wait_until_ready
from glyph_world.render import Scene, render
from service.classifier import Classifier

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LABELS = (("red umbrella", "blue anchor", "snowman"), ("anchor", "heart"), ("green heart", "sun", "moon", "red umbrella"))
PICTURES = [render(Scene(sign, colour, "drawing", 3)) for sign, colour in (("umbrella", "red"), ("heart", "green"))]
CANDOR = [sys.executable, "-c", "from cli.main import main; main()", "serve"]


def png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def saved(path: Path, backbone: Backbone, seed: int) -> PromptArtifact:
    """An artifact whose scores are far from those of another seed."""
    torch.manual_seed(seed)
    learner = ContextLearner.create(LearnerConfig(n_ctx=4), backbone, ())
    learner.ctx.data.add_(3 * torch.randn_like(learner.ctx))
    reference = BackboneRef.of(backbone)
    fields = {"method": "coop", "regularizers": {}, "base_classnames": ("blue anchor", "moon"), "template": "a {}."}
    flat = TemperatureCalibrator(temperature=30.0)  # no score is so near 0 or 1 that two artifacts could agree on it
    return save_artifact(path, learner, backbone=reference, seed=seed, calibrator=flat, **fields)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, glyph_clip: Backbone) -> Path:
    """Artifacts `one`, `two` and `three`, and one that is damaged where only its digest shows it."""
    root = tmp_path_factory.mktemp("artifacts")
    for seed, name in enumerate(("one", "two", "three", "damaged")):
        saved(root / name, glyph_clip, seed)
    prompt = bytearray((root / "damaged" / PROMPT).read_bytes())
    prompt[-1] ^= 1
    (root / "damaged" / PROMPT).write_bytes(prompt)
    return root


def scores(classifier: Classifier, picture: Image.Image, labels: tuple[str, ...]) -> dict[str, float]:
    """The classifier alone, without the service."""
    prediction = classifier.classify(classifier.backbone.encode_images([picture]), classifier.label_set(labels))[0]
    return dict(zip(labels, prediction.probabilities, strict=True))


def expected_scores(folder: Path, backbone: Backbone) -> dict[str, list[dict[str, float]]]:
    """Of each artifact by its tag: the scores of every question."""
    classifiers = [Classifier(backbone, load_artifact(folder / name)) for name in ("one", "two", "three")]
    return {c.tag: [scores(c, p, labels) for p in PICTURES for labels in LABELS] for c in classifiers}


def test_100_switches_under_load_and_every_answer_names_its_artifact(
    folder: Path, glyph_clip: Backbone, tmp_path: Path
) -> None:
    expected = expected_scores(folder, glyph_clip)
    for one, other in combinations(expected.values(), 2):  # else a wrong name would not show
        for a, b in zip(one, other, strict=True):
            assert max(abs(a[label] - b[label]) for label in a) > 1e-3
    questions = [(png(picture), labels) for picture in PICTURES for labels in LABELS]
    named: Counter[str] = Counter()
    wrong: list[str] = []
    over = threading.Event()

    def ask(url: str, number: int) -> None:
        with httpx.Client(timeout=120) as client:
            while not over.is_set():
                number = (number + 1) % len(questions)
                picture, labels = questions[number]
                data = {"labels": json.dumps(labels), "open_set": "false"}
                response = client.post(f"{url}/v1/classify", files={"image": ("x.png", picture)}, data=data)
                if response.status_code != 200:
                    wrong.append(response.text)
                    continue
                answer = response.json()
                found = {s["label"]: s["score"] for s in answer["results"][0]["scores"]}
                named[answer["artifact"]] += 1
                if found != pytest.approx(expected[answer["artifact"]][number], abs=1e-5, rel=0):
                    wrong.append(f"{answer['artifact']} {labels}: {found}")

    environment = {"CANDOR_ARTIFACTS": str(folder)}
    with running_service(folder / "one", None, tmp_path / "log", environment=environment) as url:
        clients = [threading.Thread(target=ask, args=(url, number)) for number in range(4)]
        for client in clients:
            client.start()
        tags = list(expected)
        with httpx.Client(base_url=url, timeout=120) as admin:
            for turn in range(100):
                wanted = tags[(turn + 1) % 3]
                answer = admin.post(f"/v1/artifacts/{wanted}/activate").raise_for_status().json()
                assert (answer["tag"], answer["active"]) == (wanted, True)
                if turn % 10 == 0:
                    refused = admin.post("/v1/artifacts/damaged/activate")
                    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid")
                    assert "sha256" in refused.json()["error"]["message"]
                    assert str(folder) not in refused.text
                    assert admin.get("/v1/artifacts").json()["active"] == wanted
        over.set()
        for client in clients:
            client.join()
    assert wrong == []
    assert set(named) == set(expected)
    assert sum(named.values()) > 50


@dataclass(frozen=True)
class Outcome:
    sent: float
    status: int | str
    headers: dict[str, str]


class Load:
    """Clients that send slow requests, one after the other, until nobody listens any more."""

    def __init__(self, url: str, clients: int) -> None:
        self.outcomes: list[Outcome] = []
        self._url, self._over = url, threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(n,)) for n in range(clients)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _client(self, number: int) -> None:
        images = [base64.b64encode(png(picture)).decode() for picture in PICTURES * 2]
        with httpx.Client(timeout=60) as client:
            turn = 0
            while not self._over.is_set():
                turn += 1
                labels = [f"sign {number} {turn} {word}" for word in range(150)]  # nobody has asked for these
                sent = time.monotonic()
                try:
                    response = client.post(f"{self._url}/v1/classify", json={"images": images, "labels": labels})
                    self.outcomes.append(Outcome(sent, response.status_code, dict(response.headers)))
                except httpx.ConnectError:
                    self.outcomes.append(Outcome(sent, "refused", {}))
                    return
                except httpx.TransportError as error:
                    self.outcomes.append(Outcome(sent, repr(error), {}))


class SlowBody:
    """A request whose body is half sent when it is made: it is in flight until `finish`."""

    def __init__(self, port: int) -> None:
        body = json.dumps({"image": base64.b64encode(png(PICTURES[0])).decode(), "labels": ["cat", "dog"]}).encode()
        head = ["POST /v1/classify HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
        head += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        self._rest = body[len(body) // 2 :]
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.sendall("\r\n".join(head).encode() + body[: len(body) // 2])

    def finish(self) -> bytes:
        """Send the rest; the answer's first line."""
        with self._socket as sending:
            sending.sendall(self._rest)
            return sending.makefile("rb").readline().strip()


@contextmanager
def process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        started = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        try:
            yield started
        finally:
            with suppress(ProcessLookupError):  # its workers too, where a test has failed
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def environment_of(tmp_path: Path, **more: str) -> dict[str, str]:
    own = {"CANDOR_STATE": str(tmp_path / "state"), **more}
    return service_environment(None, None, tmp_path / "bentoml", own)


@pytest.mark.parametrize(
    ("command", "number", "workers"),
    [
        ("candor", signal.SIGTERM, 1),
        ("bentoml", signal.SIGTERM, 1),
        ("bentoml", signal.SIGINT, 1),
        ("bentoml", signal.SIGTERM, 2),
    ],
)
def test_a_signal_under_load_loses_no_request(command: str, number: signal.Signals, workers: int, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    line = service_command("127.0.0.1", port) if command == "bentoml" else [*CANDOR, "--port", str(port)]
    with process(line, environment_of(tmp_path, CANDOR_WORKERS=str(workers)), tmp_path / "log") as server:
        wait_until_ready(url, server, tmp_path / "log")
        while (tmp_path / "log").read_text().count('"ready"') < workers:
            time.sleep(0.1)
        load = Load(url, clients=8)
        slow = SlowBody(port)
        while sum(o.status == 200 for o in load.outcomes) < 4:
            time.sleep(0.05)
        signalled = time.monotonic()
        server.send_signal(number)
        health: list[list[int]] = []
        answered: bytes | None = None
        while server.poll() is None and time.monotonic() < signalled + 40:
            if answered is None and time.monotonic() > signalled + 2:
                answered = slow.finish()
            try:
                health.append([httpx.get(f"{url}/{name}", timeout=20).status_code for name in ("livez", "readyz")])
            except httpx.TransportError:
                break
        code = server.wait(40)
        took = time.monotonic() - signalled
        load.end()
    before = [o for o in load.outcomes if o.sent < signalled - 0.2]  # the signal passes through two processes
    after = [o for o in load.outcomes if o.sent >= signalled]
    text = (tmp_path / "log").read_text()
    assert code == 0, text[-2000:]
    assert text.count('"drained"') == workers, text[-2000:]  # the code is the parent's, also where a worker gave up
    assert "Traceback" not in text, text[-2000:]
    assert "unanswered" not in text, text[-2000:]
    assert took < 15  # of the 25 s of the drain
    assert answered == b"HTTP/1.1 200 OK"
    assert {o.status for o in before} == {200}
    assert len([o for o in load.outcomes if o.sent < signalled <= o.sent + took]) >= 8  # they were under way
    # the kernel may complete a handshake about the listener's end: nobody has taken that request in
    others = [o for o in load.outcomes if o.status not in (200, 503, "refused")]
    assert len(others) <= 1
    lost = ("reset", "disconnected without sending")
    assert all(o.sent > signalled and any(word in str(o.status) for word in lost) for o in others), others
    refused = [o.headers for o in after if o.status == 503]
    assert all((h["connection"], int(h["retry-after"]) > 0) == ("close", True) for h in refused)
    assert len(refused) > 8
    assert [200, 503] in health


def test_what_is_unanswered_after_the_drain_is_given_up(tmp_path: Path) -> None:
    port = free_port()
    environment = environment_of(tmp_path, CANDOR_DRAIN_SECONDS="1")
    with process(service_command("127.0.0.1", port), environment, tmp_path / "log") as server:
        wait_until_ready(f"http://127.0.0.1:{port}", server, tmp_path / "log")
        with socket.create_connection(("127.0.0.1", port)) as slow:
            head = ["POST /v1/classify HTTP/1.1", "Host: localhost", "Content-Type: application/json", "Content-Length: 9"]
            slow.sendall("\r\n".join([*head, "", "{"]).encode())  # the rest never comes
            time.sleep(0.3)
            signalled = time.monotonic()
            server.send_signal(signal.SIGTERM)
            assert server.wait(20) == 0
            assert 0.9 < time.monotonic() - signalled < 8
    text = (tmp_path / "log").read_text()
    assert "1 requests were unanswered after 1 s of draining" in text
    assert "drained" not in text


def test_alive_but_not_ready_while_it_loads_and_a_signal_ends_it_at_once(tmp_path: Path) -> None:
    port = free_port()
    environment = environment_of(tmp_path, CANDOR_MODEL="ViT-L-14", CANDOR_PRETRAINED="random")  # takes long to make
    url = f"http://127.0.0.1:{port}"
    with process(service_command("127.0.0.1", port), environment, tmp_path / "log") as server:
        alive = httpx.Response(0)
        deadline = time.monotonic() + 100
        while alive.status_code != 200 and server.poll() is None and time.monotonic() < deadline:
            try:
                alive = httpx.get(f"{url}/livez", timeout=60)
            except httpx.TransportError:
                time.sleep(0.1)
        assert alive.status_code == 200
        assert httpx.get(f"{url}/readyz", timeout=20).status_code == 503
        answer = httpx.post(f"{url}/v1/classify", json={}, timeout=20)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        signalled = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        assert time.monotonic() - signalled < 8


def test_a_service_that_cannot_load_ends_with_one_sentence(folder: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(CandorError, match=r"cannot start: .*prompt\.safetensors: expected sha256"),
        running_service(folder / "damaged", None, tmp_path / "log"),
    ):
        raise AssertionError("it became ready")
