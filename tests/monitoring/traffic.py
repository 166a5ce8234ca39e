"""Traffic of one artifact and scope, as numbers in each scrape, and the service's series of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candor.calibration.bins import ReliabilityBins, bin_index
from service.feedback.bins import BIN_NAMES
from service.reference import UPPER_EDGES
from tests.monitoring.promtool import Labels, Phases, counter, gauge

Events = tuple[NDArray[np.float64], NDArray[np.float64]]  # confidence and correctness of each


def in_bins(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.bincount(bin_index(confidence, 20), minlength=20).astype(np.float64)


@dataclass(frozen=True)
class Labelled:
    """Feedback of one instance: the same events with each scrape, times the growth of a phase."""

    artifact: str
    scope: str
    instance: str
    events: Events

    @property
    def labels(self) -> dict[str, str]:
        return {"artifact": self.artifact, "scope": self.scope}

    @property
    def bins(self) -> ReliabilityBins:
        return ReliabilityBins.of(*self.events, 20)

    @property
    def squared_error(self) -> float:
        confidence, correct = self.events
        return float(((confidence - correct) ** 2).sum())

    def series(self, phases: Phases) -> list[dict[str, str]]:
        labels = self.labels | {"instance": self.instance}
        columns = {"": self.bins.count, "_confidence_sum": self.bins.confidence, "_correct": self.bins.correct}
        binned = [
            counter(f"candor_feedback{name}_total", labels | {"bin": BIN_NAMES[b]}, times(phases, float(column[b])))
            for name, column in columns.items()
            for b in range(20)
        ]
        return [*binned, counter("candor_feedback_squared_error_total", labels, times(phases, self.squared_error))]


@dataclass(frozen=True)
class Predicted:
    """Predictions of one instance, with each scrape, times the growth of a phase."""

    artifact: str
    scope: str
    instance: str
    confidence: NDArray[np.float64]

    @property
    def labels(self) -> dict[str, str]:
        return {"artifact": self.artifact, "scope": self.scope}

    def series(self, phases: Phases) -> list[dict[str, str]]:
        labels, counts = self.labels | {"instance": self.instance}, in_bins(self.confidence)
        below = [*zip(UPPER_EDGES, counts.cumsum(), strict=True), ("+Inf", counts.sum())]
        growth = [("candor_confidence_bin_total", {"bin": BIN_NAMES[b]}, counts[b]) for b in range(20)]
        growth += [("candor_confidence_bucket", {"le": edge}, number) for edge, number in below]
        growth += [("candor_confidence_count", {}, counts.sum()), ("candor_confidence_sum", {}, self.confidence.sum())]
        return [counter(name, labels | own, times(phases, float(number))) for name, own, number in growth]


def reference(labels: Labels, counts: NDArray[np.float64], instances: Sequence[str], steps: int) -> list[dict[str, str]]:
    """The gauges of an artifact's own evaluation, the same from each instance."""
    shares, found = counts / counts.sum(), []
    middles = (np.arange(20) + 0.5) / 20
    for instance in instances:
        own = dict(labels) | {"instance": instance}
        for b in range(20):
            found.append(gauge("candor_reference_confidence_ratio", own | {"bin": BIN_NAMES[b]}, float(shares[b]), steps))
            cdf = float(shares.cumsum()[b])
            found.append(gauge("candor_reference_confidence_cdf_ratio", own | {"le": UPPER_EDGES[b]}, cdf, steps))
        found.append(gauge("candor_reference_predictions", own, float(counts.sum()), steps))
        mean = float((shares * middles).sum())
        found.append(gauge("candor_reference_mean_confidence_ratio", own, mean, steps))
    return found


def times(phases: Phases, growth: float) -> Phases:
    return [(steps, factor * growth) for steps, factor in phases]
