"""Requests by route, and how long their answers took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from service.metrics.families import Maker

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram

OTHER = "other"  # whatever no route has
UNANSWERED = "none"  # the caller went away
STATUSES = ("2xx", "3xx", "4xx", "5xx", UNANSWERED)
SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]


@dataclass(frozen=True)
class _Route:
    """Children of one route."""

    statuses: dict[str, Counter]
    seconds: Histogram


class RequestMetrics:
    """What is counted of every request, whether it is answered or refused.

    Args:
        registry: where to register; the global one if None.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        make = Maker(registry)
        self._requests = make.counter("requests_total", "Requests by route and class of status", ["route", "status"])
        self._seconds = make.histogram("request_seconds", "Time from a request to its whole answer", SECONDS, ["route"])
        self._children = {OTHER: self._made(OTHER)}

    def prepare(self, routes: Iterable[str]) -> None:
        """Make the series of routes, so that they are there at zero before anything is counted.

        Args:
            routes: as they are declared, never as they are asked for.
        """
        self._children |= {route: self._made(route) for route in routes if route not in self._children}

    def count(self, route: str, status: int, seconds: float) -> None:
        """Count one request.

        Args:
            route: counts as "other" where it was not prepared.
            status: of the answer; 0 where there was none, which has no time either.
            seconds: from its begin to its end.
        """
        counted = self._children.get(route) or self._children[OTHER]
        counted.statuses[f"{status // 100}xx" if status else UNANSWERED].inc()
        if status:
            counted.seconds.observe(seconds)

    def _made(self, route: str) -> _Route:
        statuses = {status: self._requests.labels(route, status) for status in STATUSES}
        return _Route(statuses, self._seconds.labels(route))


@cache
def request_metrics() -> RequestMetrics:
    """Those of this process, in the global registry."""
    return RequestMetrics()
