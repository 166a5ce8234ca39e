"""One cell of the table: some turns of the same load, put together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

Found = TypeVar("Found")


@dataclass(frozen=True)
class Turn:
    """What one turn took.

    Attributes:
        latencies: seconds of each request.
        seconds: from the first request to the last answer.
        cpu_seconds: of the process that holds the model.
        client_cpu_seconds: of the load generator.
        images: that the model encoded meanwhile; 0 where it has none.
        batches: in which it did.
    """

    latencies: tuple[float, ...]
    seconds: float
    cpu_seconds: float
    client_cpu_seconds: float = 0.0
    images: int = 0
    batches: int = 0

    @property
    def each(self) -> float:
        """Seconds a request: the inverse of the rate."""
        return self.seconds / len(self.latencies)


@dataclass(frozen=True)
class Cell:
    """A load and what it took.

    Rates are the median of the turns, so that one disturbed turn does not count; latencies are those of all turns
    together, because a tail is made of rare ones; CPU time is that of all turns by all requests.

    Attributes:
        service: what answered.
        load: what was sent.
        clients: requests in flight.
        turns: at least one.
    """

    service: str
    load: str
    clients: int
    turns: tuple[Turn, ...]

    @property
    def requests(self) -> int:
        """Of all turns."""
        return sum(len(turn.latencies) for turn in self.turns)

    @property
    def each(self) -> float:
        """Seconds a request: the inverse of the rate."""
        return statistics.median(turn.each for turn in self.turns)

    @property
    def cpu(self) -> float:
        """CPU seconds a request, of the process that holds the model."""
        return sum(turn.cpu_seconds for turn in self.turns) / self.requests

    @property
    def client_cpu(self) -> float:
        """CPU seconds a request, of the load generator."""
        return sum(turn.client_cpu_seconds for turn in self.turns) / self.requests

    @property
    def batch(self) -> float:
        """Images in a batch of the model, on average; NaN where it has had none."""
        batches = sum(turn.batches for turn in self.turns)
        return sum(turn.images for turn in self.turns) / batches if batches else math.nan

    def latency(self, share: float) -> float:
        """Seconds that a share of the requests stays within."""
        return percentile([latency for turn in self.turns for latency in turn.latencies], share)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "service": self.service,
            "load": self.load,
            "clients": self.clients,
            "requests": self.requests,
            "requests_per_second": 1 / self.each,
            "p50_seconds": self.latency(0.5),
            "p95_seconds": self.latency(0.95),
            "p99_seconds": self.latency(0.99),
            "cpu_seconds_per_request": self.cpu,
            "client_cpu_seconds_per_request": self.client_cpu,
            "mean_batch": None if math.isnan(self.batch) else self.batch,
            "turns": [asdict(turn) | {"latencies": len(turn.latencies)} for turn in self.turns],
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of them stays within, between two neighbours by their distance.

    Args:
        values: at least one.
        share: 0..1.
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def alternate(calls: Mapping[str, Callable[[], Found]], turns: int) -> dict[str, tuple[Found, ...]]:
    """Some turns of each call, one behind the other, so that all of them meet the same state of the machine.

    Args:
        calls: by name.
        turns: of each, at least 1.
    """
    found: dict[str, list[Found]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            found[name].append(call())
    return {name: tuple(those) for name, those in found.items()}
