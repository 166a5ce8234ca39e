"""Twenty SIGKILLs under feedback: what was acknowledged is in the store once, and the totals are what the rows say."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import httpx
import numpy as np
import psutil
import pytest
import sqlalchemy as sa

from candor.calibration.confidence_curve import MULTIPLIERS
from cli.server import free_port, service_command, service_environment, wait_until_ready
from service.feedback.bins import bin_of
from service.feedback.label_hashes import label_hashes
from service.feedback.receipt import Receipt
from service.feedback.receipts import Receipts, open_receipts
from service.feedback.replica import replica_id
from service.feedback.store import FeedbackStore, StoredFeedback
from service.feedback.tallies import ScopeTotals
from service.settings import Settings
from tests.postgres import new_database
from tests.workers import workers_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SERVERS, WORKERS, CLIENTS = 5, 4, 8  # each server loses one worker after the other, the last one with its parent
LABELS = ("cat", "dog", "red umbrella")
CURVE = (0.5,) * len(MULTIPLIERS)
TOLD = (*LABELS, "something else")
LONGEST = 25  # labels in a request
BETWEEN = 12  # requests that are answered between two kills
PATIENCE = 60.0  # seconds


class Teller:
    """Clients that tell true labels, each of a prediction of its own, and remember what was acknowledged."""

    def __init__(self, receipts: Receipts) -> None:
        self._receipts = receipts
        self.sent: dict[str, str] = {}  # id of a prediction -> its true label
        self.acknowledged: set[str] = set()
        self.broken = 0  # requests that nobody answered
        self.answered = 0
        self.answers: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._unanswered: list[list[tuple[str, str, str]]] = []
        self._last: list[tuple[str, str, str]] | None = None

    @contextmanager
    def telling(self, url: str) -> Iterator[None]:
        over = threading.Event()
        threads = [threading.Thread(target=self._tell, args=(url, over)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _tell(self, url: str, over: threading.Event) -> None:
        random = Random(secrets.randbits(64))
        with httpx.Client(base_url=url, timeout=30) as client:
            while not over.is_set():
                self._send(
                    client, self._again(random) or [self._event(random) for _ in range(random.choice((1, 1, LONGEST)))]
                )

    def _again(self, random: Random) -> list[tuple[str, str, str]] | None:
        """A request that was sent before: one that nobody answered, which may be stored or not, or one that is stored."""
        with self._lock:
            if self._unanswered and random.random() < 0.3:
                return self._unanswered.pop()
            return self._last if random.random() < 0.1 else None

    def wait_for(self, requests: int) -> None:
        """Until so many more are answered."""
        wanted, deadline = self.answered + requests, time.monotonic() + PATIENCE
        while self.answered < wanted:
            assert time.monotonic() < deadline, (self.answered, self.answers)
            time.sleep(0.005)

    def _event(self, random: Random) -> tuple[str, str, str]:
        receipt = Receipt(
            id=secrets.token_urlsafe(16),
            issued=time.time(),
            artifact=random.choice(("first", "second")),
            scope=random.choice(("base", "new")),
            label=random.choice(LABELS),
            confidence=random.random(),
            known=random.choice(("true", "false", "unscored")),
            multiplier=1.5,
            gamma=None,
            curve=CURVE,
            labels=label_hashes(LABELS),
        )
        return receipt.id, self._receipts.sign(receipt), random.choice(TOLD)

    def _send(self, client: httpx.Client, events: list[tuple[str, str, str]]) -> None:
        items = [{"prediction_id": signed, "label": label} for _, signed, label in events]
        with self._lock:
            self.sent |= {id_: label for id_, _, label in events}
        try:
            response = client.post("/v1/feedback", json=items[0] if len(items) == 1 else {"feedback": items})
        except httpx.TransportError:
            with self._lock:
                self.broken += 1
                self._unanswered.append(events)
            time.sleep(0.01)
            return
        with self._lock:
            if response.status_code != 200:
                self.answers[response.text] += 1
                self._unanswered.append(events)
                return
            self.answered += 1
            self._last = events
            for (id_, _, _), result in zip(events, response.json()["results"], strict=True):
                self.answers[result.get("status", str(result))] += 1
                self.acknowledged.add(id_)


@contextmanager
def server(state: Path, url: str, log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    environment = {"CANDOR_STATE": str(state), "CANDOR_FEEDBACK": url, "CANDOR_WORKERS": str(WORKERS)}
    environment |= {"CANDOR_THREADS": "1", "CANDOR_MAX_BATCH": "8"}  # nothing is measured at start
    with log.open("wb") as output:
        process = subprocess.Popen(
            service_command("127.0.0.1", port),
            env=service_environment(None, None, log.parent / "bentoml", environment),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}", process
    finally:
        for left in psutil.Process(process.pid).children(recursive=True):
            left.kill()
        process.kill()
        process.wait()


def killed_under_load(teller: Teller, state: Path, url: str, log: Path, random: Random) -> int:
    """One server, whose workers are killed one after the other; how many were."""
    with server(state, url, log) as (address, process), teller.telling(address):
        while log.read_text().count('"message": "ready"') < WORKERS:
            time.sleep(0.1)
        workers = workers_of(address)
        assert len(workers) == WORKERS
        random.shuffle(workers)
        for number, worker in enumerate(workers):
            teller.wait_for(BETWEEN)
            time.sleep(random.uniform(0, 0.1))
            os.kill(worker.pid, signal.SIGKILL)
            if number == WORKERS - 1:
                os.kill(process.pid, signal.SIGKILL)
        return len(workers)


def recounted(events: list[StoredFeedback]) -> dict[tuple[str, str], tuple[list[float], ...]]:
    """The totals of rows, in plain Python."""
    found: dict[tuple[str, str], tuple[list[float], ...]] = {}
    for event in events:
        count, confidence, correct, rest = found.setdefault(
            (event.artifact, event.scope), ([0.0] * 20, [0.0] * 20, [0.0] * 20, [0.0] * 4)
        )
        if event.outcome == "outside":
            rest[("true", "false", "unscored").index(event.known)] += 1
            continue
        b, right = bin_of(event.confidence), float(event.outcome == "correct")
        count[b] += 1
        confidence[b] += event.confidence
        correct[b] += right
        rest[3] += (event.confidence - right) ** 2
    return found


def as_lists(totals: ScopeTotals) -> tuple[list[float], ...]:
    outside = [float(totals.outside.get(known, 0)) for known in ("true", "false", "unscored")]
    bins = totals.bins
    return bins.count.tolist(), bins.confidence.tolist(), bins.correct.tolist(), [*outside, totals.squared_error]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_twenty_kills_lose_and_double_nothing(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    state, random = tmp_path / "state", Random(20261125)
    if database == "sqlite":
        url = f"sqlite:///{tmp_path / 'feedback.db'}"
    else:
        url = new_database(request.getfixturevalue("postgres"), f"kill{secrets.token_hex(4)}")
    teller = Teller(open_receipts(Settings(state=state)))
    kills = sum(killed_under_load(teller, state, url, tmp_path / f"log{n}", random) for n in range(SERVERS))
    assert kills == 20
    assert set(teller.answers) <= {"stored", "repeated"}, teller.answers
    assert teller.broken >= SERVERS  # requests were under way
    assert teller.answers["repeated"] > 0
    assert len(teller.acknowledged) >= 20 * BETWEEN

    store = FeedbackStore.open(url, replica_id(state))
    events = list(store.events())
    labels = {event.prediction_id: event.label for event in events}
    assert len(labels) == len(events)
    assert {id_: labels.get(id_) for id_ in teller.acknowledged} == {i: teller.sent[i] for i in teller.acknowledged}
    assert labels.items() <= teller.sent.items()
    expected = recounted(events)
    assert {event.replica for event in events} == {replica_id(state)}
    for _ in range(2):  # as they are, and rebuilt
        totals = store.totals()
        assert set(totals) == set(expected)
        for key, columns in expected.items():
            for found, wanted in zip(as_lists(totals[key]), columns, strict=True):
                np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
        store.rebuild()
    store.close()
    if database == "sqlite":
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            assert connection.execute(sa.text("PRAGMA integrity_check")).scalar_one() == "ok"
        engine.dispose()
