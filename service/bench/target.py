"""A running service under measure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from candor.errors import CandorError
from service.bench.answers import Expected, count_wrong, expected
from service.bench.cells import Cell, Turn
from service.bench.load import Answer, Load, send
from service.bench.processes import Helper, cpu_seconds, serving_process
from service.bench.traffic import Body

ROUTE = "/v1/classify"
AT_ONCE = 10**6  # seconds; what is sent once ends by itself
Starter = Callable[[str | None, Mapping[str, str]], AbstractContextManager[str]]
"""Runs a service in a process below this one: (what BentoML shall serve, None for Candor; its environment) -> its URL."""


@dataclass(frozen=True)
class Traffic:
    """Requests whose answers are known.

    Attributes:
        name: for the table.
        bodies: of the requests.
        references: what each is answered alone, by its number; None where only the status is looked at.
    """

    name: str
    bodies: tuple[Body, ...]
    references: dict[int, Expected] | None


class Target:
    """A service that answers, its process, and what of its answers was wrong so far.

    Args:
        name: for the table.
        url: of the service, on loopback, run by a process below this one.
        generator: the process that sends requests.
    """

    def __init__(self, name: str, url: str, generator: Helper) -> None:
        self.name, self.wrong = name, 0
        self._url, self._generator = url, generator
        self._process = serving_process(urlsplit(url).port or 80)

    def prepare(self, name: str, bodies: Sequence[Body]) -> Traffic:
        """Send each request alone: its label set is encoded then, and its answer known.

        Raises:
            CandorError: the service refuses one.
        """
        return Traffic(name, tuple(bodies), expected(self._alone(bodies)))

    def turn(self, traffic: Traffic, clients: int, seconds: float) -> Turn:
        """Some seconds of requests, their answers checked."""
        load, turn = self._measured(traffic.bodies, clients, seconds, once=False)
        if traffic.references is None:
            self.wrong += sum(answer.status != 200 for answer in load.answers)
        else:
            self.wrong += count_wrong(load.answers, traffic.references)
        return turn

    def cold(self, name: str, bodies: Sequence[Body], clients: int) -> Cell:
        """Each request once, for label sets that the service has not seen; the answers are checked when it has."""
        load, turn = self._measured(bodies, clients, AT_ONCE, once=True)
        self.wrong += count_wrong(load.answers, expected(self._alone(bodies)))
        return Cell(self.name, name, clients, (turn,))

    def _alone(self, bodies: Sequence[Body]) -> tuple[Answer, ...]:
        return self._send(bodies, 1, AT_ONCE, once=True).answers

    def _send(self, bodies: Sequence[Body], clients: int, seconds: float, once: bool) -> Load:
        return self._generator.call(send, self._url + ROUTE, bodies, clients, seconds, once)

    def _measured(self, bodies: Sequence[Body], clients: int, seconds: float, once: bool) -> tuple[Load, Turn]:
        images, batches = self._batches()
        cpu = cpu_seconds(self._process)
        load = self._send(bodies, clients, seconds, once)
        cpu = cpu_seconds(self._process) - cpu
        now_images, now_batches = self._batches()
        latencies = tuple(answer.seconds for answer in load.answers)
        return load, Turn(latencies, load.seconds, cpu, load.cpu_seconds, now_images - images, now_batches - batches)

    def _batches(self) -> tuple[int, int]:
        """(images, batches) that the model has had."""
        answer = httpx.get(self._url + "/metrics")
        if answer.status_code == 404:  # the empty service
            return 0, 0
        if answer.status_code != 200:
            raise CandorError(f"the service's /metrics answers {answer.status_code}")
        return total(answer.text, "candor_image_batch_size_sum"), total(answer.text, "candor_image_batch_size_count")


def total(exposition: str, series: str) -> int:
    """Sum over all labels of a series that counts, in Prometheus's text format; 0 where it is not there."""
    values = re.findall(rf"^{series}(?:{{.*}})? (\S+)", exposition, re.MULTILINE)
    return round(sum(map(float, values)))
