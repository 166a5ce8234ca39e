"""What artifacts say of themselves: the distributions and figures that drift is measured against."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from candor.calibration.bins import ReliabilityBins
from candor.calibration.scores import accuracy, mean_confidence
from candor.clip.artifact import SCOPES, ArtifactConfig, Scope
from service.feedback.bins import BIN_NAMES, N_BINS

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily, Metric

UPPER_EDGES = tuple(str(round((b + 1) / N_BINS, 2)) for b in range(N_BINS))  # as the histogram's `le`
SINGLE = {  # of ScopeReference, one value a scope
    "predictions": ("reference_predictions", "Images of the artifact's own evaluation"),
    "accuracy": ("reference_accuracy_ratio", "Accuracy in the artifact's own evaluation"),
    "confidence": ("reference_mean_confidence_ratio", "Mean confidence in the artifact's own evaluation"),
    "text_deviation": ("reference_text_deviation", "Text deviation of the labels of the artifact's own evaluation"),
    "divergence": ("reference_divergence", "FD of the labels of the artifact's own evaluation"),
}


@dataclass(frozen=True)
class ScopeReference:
    """What an artifact's own evaluation saw in one scope. NaN stands for what it does not tell.

    Attributes:
        counts: images in each of 20 confidence bins, (20,).
        accuracy, confidence: share of correct predictions, and their mean confidence.
        text_deviation: mean of 1 - cos(tuned, zero-shot) over the scope's labels.
        divergence: FD of the scope's labels.
    """

    counts: NDArray[np.float64]
    accuracy: float
    confidence: float
    text_deviation: float
    divergence: float

    @property
    def predictions(self) -> float:
        """Number of images."""
        return float(self.counts.sum())


def reference_of(config: ArtifactConfig, scope: Scope) -> ScopeReference | None:
    """The reference of one scope; None where the artifact brings none that can be used.

    Args:
        config: of the artifact.
        scope: base or new.
    """
    kept = config.reference.get(scope)
    if kept is None:
        return None
    counts = np.array(kept.confidence_histogram, np.float64)
    if len(counts) != N_BINS or not np.isfinite(counts).all() or (counts < 0).any() or not counts.any():
        return None
    kept_bins = kept.reliability
    columns = (np.array(c, np.float64) for c in (kept_bins.count, kept_bins.confidence, kept_bins.correct))
    bins = ReliabilityBins(*columns)
    figures = config.evaluation.get(scope, {})
    nan = float("nan")
    return ScopeReference(
        counts, accuracy(bins), mean_confidence(bins), figures.get("text_deviation", nan), figures.get("fd", nan)
    )


class References:
    """The references of what this process has served, as gauges that are read when Prometheus asks.

    An artifact that was switched away stays: its counters do too, and windows that reach back are still compared.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Mapping[Scope, ScopeReference]] = {}

    def add(self, artifact: str, config: ArtifactConfig | None) -> None:
        """Take an artifact that is served from now on.

        Args:
            artifact: its tag.
            config: what it says about itself; None for zero-shot, which has no evaluation of its own.
        """
        found = {scope: reference_of(config, scope) for scope in SCOPES} if config else {}
        self._kept = self._kept | {artifact: {scope: each for scope, each in found.items() if each is not None}}

    def of(self, artifact: str) -> Mapping[Scope, ScopeReference] | None:
        """References of an artifact by scope, of those scopes that have one; None where it was not served.

        Args:
            artifact: its tag.
        """
        return self._kept.get(artifact)

    def artifacts(self) -> list[str]:
        """Tags of all that was served, the first first."""
        return list(self._kept)

    def collect(self) -> Iterable[Metric]:
        """All families, also those without a series."""
        shares = _gauge("reference_confidence_ratio", "Share of the evaluation's images by confidence", "bin")
        below = _gauge("reference_confidence_cdf_ratio", "Share of the evaluation's images up to a confidence", "le")
        single = {field: _gauge(*names) for field, names in SINGLE.items()}
        for artifact, scopes in self._kept.items():
            for scope, reference in scopes.items():
                share = reference.counts / reference.predictions
                cumulated = reference.counts.cumsum() / reference.predictions
                for b in range(N_BINS):
                    shares.add_metric([artifact, scope, BIN_NAMES[b]], share[b])
                    below.add_metric([artifact, scope, UPPER_EDGES[b]], cumulated[b])
                for field, family in single.items():
                    value = getattr(reference, field)
                    if math.isfinite(value):
                        family.add_metric([artifact, scope], value)
        return [shares, below, *single.values()]


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"candor_{name}", text, labels=["artifact", "scope", *labels])
