"""The simulated callers: a steady stream of questions, and the true labels that come later."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from candor.errors import CandorError
from cli.simulate.stream import Stream

CALLERS = 8  # requests in flight at most
TIMEOUT = 60.0  # seconds an answer may take
POST_EVERY = 0.25  # seconds between two posts of labels
MOST_LABELS = 100  # in one post


@dataclass(frozen=True)
class Truth:
    """A true label on its way.

    Attributes:
        due: when it is to be sent, of the monotonic clock.
        prediction_id: of the answer it belongs to.
        label: what the picture shows.
        shifted: whether the picture was taken at dusk.
    """

    due: float
    prediction_id: str
    label: str
    shifted: bool


@dataclass
class Seen:
    """What the callers saw. Unix times in seconds.

    Attributes:
        asked: questions that were answered.
        labelled: true labels that the service acknowledged.
        shifted_labels: of those, labels of shifted pictures.
        errors: answers that were refused, by what they said.
        first_shifted_label: when the first true label of such a picture was sent.
    """

    asked: int = 0
    labelled: int = 0
    shifted_labels: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    first_shifted_label: float | None = None


class Traffic:
    """Callers in a thread of their own.

    Args:
        url: of the service.
        stream: what they send.
        rate: questions a second; fewer where the service does not keep up.
        delay: seconds from an answer to its true label.
    """

    def __init__(self, url: str, stream: Stream, rate: float, delay: float) -> None:
        self._url, self._stream, self._rate, self._delay = url, stream, rate, delay
        self.seen = Seen()
        self._shifted = self._over = False
        self._numbers = itertools.count()
        self._truths: deque[Truth] = deque()
        self._error: BaseException | None = None

    @contextmanager
    def running(self) -> Iterator[Traffic]:
        """The callers at work while the block runs."""
        thread = threading.Thread(target=self._run, name="callers")
        thread.start()
        try:
            yield self
        finally:
            self._over = True
            thread.join()

    def shift(self) -> None:
        """From now on it is dusk."""
        self._shifted = True

    def check(self) -> None:
        """See that the callers still call.

        Raises:
            CandorError: they gave up.
        """
        if self._error is not None:
            raise CandorError(f"the simulated callers gave up: {self._error!r}") from self._error

    def _run(self) -> None:
        try:
            asyncio.run(self._call())
        except BaseException as error:
            self._error = error

    async def _call(self) -> None:
        start = time.monotonic()
        async with httpx.AsyncClient(base_url=self._url, timeout=TIMEOUT) as client, asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(self._ask(client, start))
            group.create_task(self._tell(client))

    async def _ask(self, client: httpx.AsyncClient, start: float) -> None:
        """Ask the next question when its turn has come, and again."""
        while not self._over:
            number = next(self._numbers)
            await asyncio.sleep(max(0.0, start + number / self._rate - time.monotonic()))
            picture = self._stream.picture(number, self._shifted)
            answer = await client.post(
                "/v1/classify",
                files={"image": ("picture.png", picture.file, "image/png")},
                data={"labels": json.dumps(picture.labels), "top_k": "1"},
            )
            if answer.status_code != 200:
                self.seen.errors[answer.text[:200]] += 1
                continue
            self.seen.asked += 1
            name = answer.json()["results"][0]["prediction_id"]
            self._truths.append(Truth(time.monotonic() + self._delay, name, picture.label, picture.shifted))

    async def _tell(self, client: httpx.AsyncClient) -> None:
        """Send the true labels whose time has come."""
        while not self._over:
            await asyncio.sleep(POST_EVERY)
            due = self._due()
            if not due:
                continue
            if self.seen.first_shifted_label is None and any(truth.shifted for truth in due):
                self.seen.first_shifted_label = time.time()
            body = {"feedback": [{"prediction_id": t.prediction_id, "label": t.label} for t in due]}
            answer = await client.post("/v1/feedback", json=body)
            if answer.status_code != 200:
                self.seen.errors[answer.text[:200]] += 1
                continue
            for truth, result in zip(due, answer.json()["results"], strict=True):
                if result.get("status") == "stored":
                    self.seen.labelled += 1
                    self.seen.shifted_labels += truth.shifted
                else:
                    self.seen.errors[json.dumps(result)[:200]] += 1

    def _due(self) -> list[Truth]:
        now = time.monotonic()
        due: list[Truth] = []
        while self._truths and self._truths[0].due <= now and len(due) < MOST_LABELS:
            due.append(self._truths.popleft())
        return due
