"""The families that count answers by artifact, and how a family is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram

CONFIDENCE_BUCKETS = [round(i / 20, 2) for i in range(1, 21)]  # 20 equal bins; le = 1 is the last
OPEN_SET_BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, *(i / 10 for i in range(1, 10)), 0.95, 0.99, 1.0]
DEVIATION_BUCKETS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0]
DIVERGENCE_BUCKETS = [*(i / 10 for i in range(1, 17)), 2.0]  # two directions at random are sqrt(2) apart


class Maker:
    """Makes families of one registry, all with the service's prefix.

    Args:
        registry: where they are registered; the global one if None.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        from prometheus_client import REGISTRY, disable_created_metrics

        disable_created_metrics()  # type: ignore[no-untyped-call]  # half of all lines otherwise, which nothing here asks for
        self._registry = registry or REGISTRY

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """A counter; its name ends in `_total`."""
        from prometheus_client import Counter

        return Counter(f"candor_{name}", text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
        """A histogram with buckets up to and with each of some values."""
        from prometheus_client import Histogram

        return Histogram(f"candor_{name}", text, labels, buckets=buckets, registry=self._registry)


class AnswerFamilies:
    """What is counted of answers, by the artifact that gave them.

    Args:
        make: of the registry.
    """

    def __init__(self, make: Maker) -> None:
        self.predictions = make.counter("predictions_total", "Images classified", ["artifact", "scope", "known"])
        self.confidence = make.histogram(
            "confidence", "Calibrated probability of the predicted label", CONFIDENCE_BUCKETS, ["artifact", "scope"]
        )
        self.confidence_bins = make.counter(
            "confidence_bin_total",
            "Predictions by confidence; bins have their lower edge",
            ["artifact", "scope", "bin"],
        )
        self.open_set_score = make.histogram(
            "open_set_score",
            "How surely an image shows one of its labels; low means unknown",
            OPEN_SET_BUCKETS,
            ["artifact", "method"],
        )
        self.text_deviation = make.histogram(
            "text_deviation",
            "Mean of 1 - cos(tuned, zero-shot) over the labels of a request",
            DEVIATION_BUCKETS,
            ["artifact"],
        )
        self.divergence = make.histogram(
            "divergence", "FD of the labels of a request, of two or more", DIVERGENCE_BUCKETS, ["artifact"]
        )
