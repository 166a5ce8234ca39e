"""What Prometheus reads, and the names of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prometheus_client.core import Metric

ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}


class Collector(Protocol):
    """What knows its figures only when it is asked: of a database, or constants."""

    def collect(self) -> Iterable[Metric]:
        """All its families, also those without a series."""
        ...


def several_processes() -> bool:
    """Whether workers share their counts through files."""
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


def exposition(collectors: Iterable[Collector] = ()) -> tuple[bytes, str]:
    """All metrics of all worker processes, in Prometheus's text format, and its content type.

    Args:
        collectors: of what is the same for all workers; the one that answers reads it once.
    """
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    if several_processes():
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry), CONTENT_TYPE_LATEST


def exported_names() -> frozenset[str]:
    """Names of all series that the service exports, as Prometheus has them; made from the families themselves."""
    from prometheus_client import CollectorRegistry

    from service.feedback.totals import FeedbackCollector
    from service.metrics.requests import RequestMetrics
    from service.metrics.service_metrics import ServiceMetrics
    from service.reference import References

    registry = CollectorRegistry()
    ServiceMetrics(registry, take_over=False)
    RequestMetrics(registry)
    registry.register(References())
    registry.register(FeedbackCollector(dict))
    return frozenset(family.name + ending for family in registry.collect() for ending in ENDINGS[family.type])
