"""Prometheus metrics. Counters and histograms only, bounded labels, every child made before it is needed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from candor.calibration.open_set import ScoreName
from candor.clip.artifact import SCOPES
from service.classifier import Prediction
from service.errors import CODES
from service.label_set import LabelSet
from service.refusals import refusals
from service.serving import Serving

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Stage = Literal["decode", "queue", "encode", "labels", "score", "answer"]

STAGES: tuple[Stage, ...] = ("decode", "queue", "encode", "labels", "score", "answer")
CONFIDENCE_BUCKETS = [round(i / 20, 2) for i in range(1, 21)]  # 20 equal bins; le = 1 is the last
OPEN_SET_BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, *(i / 10 for i in range(1, 10)), 0.95, 0.99, 1.0]
STAGE_BUCKETS = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]
BATCH_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256]
KNOWN = ("true", "false", "unscored")  # unscored: no open-set answer was asked for, or no threshold is there to judge it


class ServiceMetrics:
    """The service's metrics. One a process: it takes over what `service.refusals` has counted.

    prometheus_client decides at import whether it works across processes, from a variable that BentoML sets in its workers;
    so it is imported here and not at the top.

    Args:
        registry: where to register; the global one if None.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        from prometheus_client import REGISTRY, Counter, Histogram

        where = registry or REGISTRY

        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(f"candor_{name}", text, labels, registry=where)

        def histogram(name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
            return Histogram(f"candor_{name}", text, labels, buckets=buckets, registry=where)

        self._all_predictions = counter("predictions_total", "Images classified", ["artifact", "scope", "known"])
        self._all_confidence = histogram(
            "confidence", "Calibrated probability of the predicted label", CONFIDENCE_BUCKETS, ["artifact", "scope"]
        )
        self._all_open_set_scores = histogram(
            "open_set_score",
            "How surely an image shows one of its labels; low means unknown",
            OPEN_SET_BUCKETS,
            ["artifact", "method"],
        )
        self._label_set_size = histogram("label_set_size", "Labels in a request", [2, 5, 10, 20, 50, 100, 200, 500, 1000])
        self._text_deviation = histogram(
            "text_deviation",
            "Mean of 1 - cos(tuned, zero-shot) over the labels of a request",
            [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0],
        )
        stages = histogram("stage_seconds", "Time that a stage of answering took", STAGE_BUCKETS, ["stage"])
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        self._batch_size = histogram("image_batch_size", "Images that the model took at once", BATCH_BUCKETS)
        self._hits = counter("label_cache_hits_total", "Labels whose text features were kept")
        self._misses = counter("label_cache_misses_total", "Labels whose text features had to be made")
        rejected = counter("rejected_total", "Requests, and images of several, refused, by error code", ["code"])
        self._rejected = {code: rejected.labels(code) for code in CODES.values()}
        refusals.export(lambda code, number: self._rejected[code].inc(number))

    def prepare(self, artifact: str, method: ScoreName) -> None:
        """Make the series of an artifact, so that they are there at zero before anything is counted.

        Args:
            artifact: its tag.
            method: the open-set score of its answers.
        """
        for scope in SCOPES:
            self._all_confidence.labels(artifact, scope)
            for known in KNOWN:
                self._all_predictions.labels(artifact, scope, known)
        self._all_open_set_scores.labels(artifact, method)

    def answered(
        self, serving: Serving, label_set: LabelSet, predictions: Sequence[Prediction], calibrated: bool = True
    ) -> None:
        """Count one answered request.

        Args:
            serving: that answered; it was prepared.
            label_set: of the request.
            predictions: one an image.
            calibrated: whether the confidence is a probability among the labels; scores of a multi-label answer are not,
                and would spoil what is known of calibration.
        """
        artifact, method = serving.tag, serving.classifier.open_set_method
        self._label_set_size.observe(len(label_set.labels))
        self._text_deviation.observe(label_set.text_deviation)
        for prediction in predictions:
            answer = prediction.open_set
            known = "unscored" if answer is None or answer.known is None else str(answer.known).lower()
            self._all_predictions.labels(artifact, prediction.scope, known).inc()
            if calibrated:
                self._all_confidence.labels(artifact, prediction.scope).observe(prediction.confidence)
            if answer is not None:
                self._all_open_set_scores.labels(artifact, method).observe(answer.score)

    def stage(self, stage: Stage, seconds: float) -> None:
        """Count how long one stage took."""
        self._stages[stage].observe(seconds)

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Count how long the block took, where it ended well."""
        started = time.perf_counter()
        yield
        self.stage(stage, time.perf_counter() - started)

    def image_batch(self, size: int) -> None:
        """Count one batch of images that the model took."""
        self._batch_size.observe(size)

    def label_cache(self, hits: int, misses: int) -> None:
        """Count labels whose features were kept, and labels whose features were made."""
        self._hits.inc(hits)
        self._misses.inc(misses)


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
