"""One model, served and measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from candor.errors import CandorError
from service.bench import ratios
from service.bench.cells import Cell, Turn, alternate
from service.bench.processes import Helper
from service.bench.raw import Weights, best_batch, raw_turn
from service.bench.setting import Findings, Setting
from service.bench.target import Starter, Target, Traffic
from service.bench.traffic import Body, form_body, labels, pictures

RAW = "encode_image"


@dataclass(frozen=True)
class Aims:
    """Which targets hold for a model.

    Attributes:
        raw: the share of raw encode_image's rate: for a large one, which takes nearly all of the time.
        labels: the latency with many labels: the same.
    """

    raw: bool
    labels: bool


def _count(labels: int) -> str:
    return f"{labels} labels"


def middle(counts: Sequence[int]) -> int:
    """The usual load: neither the fewest nor the most."""
    return sorted(counts)[len(counts) // 2]


class Section:
    """A model behind the service, with and without micro-batching, and alone in a process beside it. A context manager.

    Args:
        name: of the figures.
        weights: of the model.
        setting: what is measured.
        findings: takes what is found.
        start: runs services.
        generator: sends requests.
        beside: runs the model alone.
    """

    def __init__(
        self,
        name: str,
        weights: Weights,
        setting: Setting,
        findings: Findings,
        start: Starter,
        generator: Helper,
        beside: Helper,
    ) -> None:
        self.name, self.weights, self.setting, self.findings = name, weights, setting, findings
        self.beside, self.images = beside, pictures(setting.pictures)
        self._start, self._generator = start, generator
        self._targets: list[Target] = []

    def __enter__(self) -> Self:
        with ExitStack() as running:
            self._running = running
            self.ours = self.serve("candor", {})
            self._best = self.beside.call(best_batch, self.weights, self.setting.batches, self.setting.seconds / 4)
            self._running = running.pop_all()
        self.findings.on_done(f"{self.name}: start")
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
        self.findings.wrong += sum(target.wrong for target in self._targets)

    def serve(self, name: str, environment: Mapping[str, str], target: str | None = None) -> Target:
        """Run a service until the section ends.

        Args:
            name: for the table.
            environment: of its own.
            target: what BentoML shall serve; None for Candor with the section's model.
        """
        model = {"CANDOR_MODEL": self.weights.model, "CANDOR_DEVICE": "cpu", "CANDOR_PRECISION": "fp32"}
        if self.weights.pretrained:
            model["CANDOR_PRETRAINED"] = self.weights.pretrained
        if self.weights.threads:
            model["CANDOR_THREADS"] = str(self.weights.threads)
        url = self._running.enter_context(self._start(target, model | dict(environment)))
        self._targets.append(Target(f"{name}, {self.weights.model}", url, self._generator))
        return self._targets[-1]

    def bodies(self, names: Sequence[str]) -> list[Body]:
        """A multipart request a picture, all with the same labels."""
        return [form_body(image, names) for image in self.images]

    def measure(
        self, loads: Mapping[str, tuple[Target, Traffic]], clients: int, **others: partial[Turn]
    ) -> dict[str, Cell]:
        """Cells of some loads and of other calls, their turns one behind the other; kept in the findings.

        Args:
            loads: by name: whom to send what.
            clients: requests in flight.
            others: by name: what else has its turns.
        """
        setting = self.setting
        calls = {key: partial(target.turn, traffic, clients, setting.seconds) for key, (target, traffic) in loads.items()}
        turns = alternate(calls | others, setting.turns)
        cells = {key: Cell(target.name, traffic.name, clients, turns[key]) for key, (target, traffic) in loads.items()} | {
            key: Cell(f"{key} alone, {self.weights.model}", "", 1, turns[key]) for key in others
        }
        self.findings.cells += cells.values()
        return cells

    def raw(self, weights: Weights, batch: int) -> partial[Turn]:
        """A turn of the model alone."""
        return partial(self.beside.call, raw_turn, weights, batch, self.setting.seconds)

    def beside_model(self) -> None:
        """CPU time of the service beside the model's, with one thread of torch in both.

        Threads that wait for each other take CPU time too, and how much of it is a matter of luck.
        """
        weights = replace(self.weights, threads=1)
        target = self.serve("candor, 1 thread", {"CANDOR_THREADS": "1"})
        count = middle(self.setting.labels)
        traffic = target.prepare(_count(count), self.bodies(labels(count)))
        for clients in self.setting.clients:
            ours = self.measure({"ours": (target, traffic)}, clients)["ours"]
            if math.isnan(ours.batch):
                raise CandorError("the service's /metrics has no candor_image_batch_size")
            batch = max(1, round(ours.batch))
            name = f"{RAW} in batches of {batch}, 1 thread"
            alone = self.measure({}, clients, **{name: self.raw(weights, batch)})[name]
            self.findings.figures.append(ratios.beside_model(self.name, ours, alone, batch))
        self.findings.on_done(f"{self.name}: CPU beside the model")

    def grid(self, aims: Aims, empty: Target | None) -> None:
        """Few to many cached labels at one to many clients, beside the model alone.

        Args:
            aims: which targets hold for this model.
            empty: a service that does nothing, to compare with too.
        """
        traffic = {count: self.ours.prepare(_count(count), self.bodies(labels(count))) for count in self.setting.labels}
        unbatched = self.serve("candor, batches of 1", {"CANDOR_MAX_BATCH": "1"})
        usual = middle(self.setting.labels)
        alone = unbatched.prepare(_count(usual), self.bodies(labels(usual)))
        for clients in self.setting.clients:
            loads = {str(count): (self.ours, those) for count, those in traffic.items()}
            if clients == min(self.setting.clients):
                loads["unbatched"] = (unbatched, alone)
            if empty is not None:
                loads["empty"] = (empty, Traffic("constant answer", traffic[usual].bodies, None))
            cells = self.measure(loads, clients, **{RAW: self.raw(self.weights, self._best)})
            self._compare(cells, cells[str(usual)], clients, aims)
            self.findings.on_done(f"{self.name}: {clients} clients")

    def _compare(self, cells: Mapping[str, Cell], ours: Cell, clients: int, aims: Aims) -> None:
        found, saturated = self.findings.figures, clients == max(self.setting.clients)
        found += ratios.against_raw(self.name, ours, cells[RAW], self._best, aims.raw and saturated)
        if clients == min(self.setting.clients):
            few, many = (cells[str(pick(self.setting.labels))] for pick in (min, max))
            found.append(ratios.many_labels(self.name, many, few, aims.labels))
            found.append(ratios.against_unbatched(self.name, ours, cells["unbatched"]))
        if "empty" in cells:
            found += ratios.against_empty(self.name, ours, cells["empty"])

    def cold(self) -> None:
        """Label sets that the service has not seen, one client: a request waits for all of its labels to be encoded."""
        first = 10 * max(self.setting.labels)
        for count, requests in zip(self.setting.labels, self.setting.cold, strict=True):
            sets = [labels(count, first + number * count) for number in range(requests)]
            first += requests * count
            bodies = [form_body(self.images[i % len(self.images)], names) for i, names in enumerate(sets)]
            self.findings.cells.append(self.ours.cold(f"{count} labels, never seen", bodies, 1))
        self.findings.on_done(f"{self.name}: cold labels")
