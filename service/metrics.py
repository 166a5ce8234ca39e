"""Prometheus metrics. Counters and histograms only, bounded labels, every child made at start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from candor.calibration.open_set import ScoreName
from candor.clip.artifact import SCOPES
from service.classifier import LabelSet, Prediction
from service.errors import CODES

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

CONFIDENCE_BUCKETS = [round(i / 20, 2) for i in range(1, 21)]  # 20 equal bins; le = 1 is the last
OPEN_SET_BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, *(i / 10 for i in range(1, 10)), 0.95, 0.99, 1.0]
KNOWN = ("true", "false", "unscored")  # unscored: no open-set answer was asked for, or no threshold is there to judge it


class ServiceMetrics:
    """The service's metrics.

    prometheus_client decides at import whether it works across processes, from a variable that BentoML sets in its workers;
    so it is imported here and not at the top.

    Args:
        artifact: tag that labels the series.
        open_set_method: which open-set score the service has; another service may have another one.
        registry: where to register; the global one if None.
    """

    def __init__(self, artifact: str, open_set_method: ScoreName, registry: CollectorRegistry | None = None) -> None:
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
        open_set_score = Histogram(
            "candor_open_set_score",
            "How surely an image shows one of its labels; low means unknown",
            ["artifact", "method"],
            buckets=OPEN_SET_BUCKETS,
            registry=where,
        )
        self._open_set_score = open_set_score.labels(artifact, open_set_method)
        self._predictions = {(s, known): predictions.labels(artifact, s, known) for s in SCOPES for known in KNOWN}
        self._confidence = {scope: confidence.labels(artifact, scope) for scope in SCOPES}
        self._rejected = {code: rejected.labels(code) for code in CODES.values()}

    def answered(self, label_set: LabelSet, predictions: list[Prediction]) -> None:
        """Count one answered request."""
        self._label_set_size.observe(len(label_set.labels))
        self._text_deviation.observe(label_set.text_deviation)
        for prediction in predictions:
            answer = prediction.open_set
            known = "unscored" if answer is None or answer.known is None else str(answer.known).lower()
            self._predictions[prediction.scope, known].inc()
            self._confidence[prediction.scope].observe(prediction.confidence)
            if answer is not None:
                self._open_set_score.observe(answer.score)

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
