"""Prometheus metrics. Counters and histograms only, bounded labels, every child made at start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from candor.clip.artifact import SCOPES
from service.classifier import LabelSet, Prediction
from service.errors import CODES

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

CONFIDENCE_BUCKETS = [round(i / 20, 2) for i in range(1, 21)]  # 20 equal bins; le = 1 is the last
KNOWN = "unscored"  # until an open-set score says whether the image shows any of the labels


class ServiceMetrics:
    """The service's metrics.

    prometheus_client decides at import whether it works across processes, from a variable that BentoML sets in its workers;
    so it is imported here and not at the top.

    Args:
        artifact: tag that labels the series.
        registry: where to register; the global one if None.
    """

    def __init__(self, artifact: str, registry: CollectorRegistry | None = None) -> None:
        from prometheus_client import REGISTRY, Counter, Histogram

        where = registry or REGISTRY
        predictions = Counter(
            "candor_predictions_total", "Images classified", ["artifact", "scope", "known"], registry=where
        )
        confidence = Histogram(
            "candor_confidence",
            "Calibrated probability of the predicted label",
            ["artifact", "scope"],
            buckets=CONFIDENCE_BUCKETS,
            registry=where,
        )
        rejected = Counter("candor_rejected_total", "Requests refused, by error code", ["code"], registry=where)
        self._label_set_size = Histogram(
            "candor_label_set_size", "Labels in a request", buckets=[2, 5, 10, 20, 50, 100, 200, 500, 1000], registry=where
        )
        self._text_deviation = Histogram(
            "candor_text_deviation",
            "Mean of 1 - cos(tuned, zero-shot) over the labels of a request",
            buckets=[0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0],
            registry=where,
        )
        self._predictions = {scope: predictions.labels(artifact, scope, KNOWN) for scope in SCOPES}
        self._confidence = {scope: confidence.labels(artifact, scope) for scope in SCOPES}
        self._rejected = {code: rejected.labels(code) for code in CODES.values()}

    def answered(self, label_set: LabelSet, predictions: list[Prediction]) -> None:
        """Count one answered request."""
        self._label_set_size.observe(len(label_set.labels))
        self._text_deviation.observe(label_set.text_deviation)
        for prediction in predictions:
            self._predictions[prediction.scope].inc()
            self._confidence[prediction.scope].observe(prediction.confidence)

    def rejected(self, code: str) -> None:
        """Count one refused request."""
        if code in self._rejected:
            self._rejected[code].inc()


def exposition() -> tuple[bytes, str]:
    """All metrics of all worker processes, in Prometheus's text format, and its content type."""
    import os

    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
