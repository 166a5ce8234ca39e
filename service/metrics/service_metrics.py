"""All that one process counts but its requests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from candor.calibration.open_set import ScoreName
from service.errors import CODES
from service.feedback.receipt import REFUSED, Refused
from service.metrics.counted import Counted, counted
from service.metrics.families import AnswerFamilies, Maker
from service.metrics.recorder import Recorder
from service.refusals import refusals

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from service.classifier import Prediction
    from service.label_set import LabelSet
    from service.serving import Serving

Stage = Literal["decode", "queue", "encode", "labels", "score", "answer"]

STAGES: tuple[Stage, ...] = ("decode", "queue", "encode", "labels", "score", "answer")
LABEL_BUCKETS = [2, 5, 10, 20, 50, 100, 200, 500, 1000]
STAGE_BUCKETS = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]
BATCH_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256]


class ServiceMetrics:
    """The service's metrics. One a process: it takes over what `service.refusals` has counted.

    Args:
        registry: where to register; the global one if None.
        take_over: whether refusals are counted here from now on.
    """

    def __init__(self, registry: CollectorRegistry | None = None, take_over: bool = True) -> None:
        make = Maker(registry)
        self._answers = AnswerFamilies(make)
        self._recorders: dict[str, Recorder] = {}
        self._label_set_size = make.histogram("label_set_size", "Labels in a request", LABEL_BUCKETS)
        stages = make.histogram("stage_seconds", "Time that a stage of answering took", STAGE_BUCKETS, ["stage"])
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        self._batch_size = make.histogram("image_batch_size", "Images that the model took at once", BATCH_BUCKETS)
        self._hits = make.counter("label_cache_hits_total", "Labels whose text features were kept")
        self._misses = make.counter("label_cache_misses_total", "Labels whose text features had to be made")
        rejected = make.counter("rejected_total", "Requests, and images of several, refused, by error code", ["code"])
        self._rejected = {code: rejected.labels(code) for code in CODES.values()}
        feedback = make.counter("feedback_refused_total", "True labels that were refused", ["reason"])
        self._feedback_refused = {reason: feedback.labels(reason) for reason in REFUSED}
        if take_over:
            refusals.export(lambda code, number: self._rejected[code].inc(number))

    def prepare(self, artifact: str, method: ScoreName) -> None:
        """Make the series of an artifact, so that they are there at zero before anything is counted.

        Args:
            artifact: its tag.
            method: the open-set score of its answers.
        """
        self._recorders[artifact] = Recorder(self._answers, artifact, method)

    def answered(
        self, serving: Serving, label_set: LabelSet, predictions: Sequence[Prediction], monitored: bool = True
    ) -> None:
        """Count one answered request.

        Args:
            serving: that answered; it was prepared.
            label_set: of the request.
            predictions: one an image.
            monitored: see `Question.monitored`; all else would spoil what is known of calibration, and counts as
                predictions only.
        """
        self._label_set_size.observe(len(label_set.labels))
        self._recorders[serving.tag].answered(label_set, predictions, monitored)

    def counted(self, artifact: str) -> Counted:
        """What all worker processes have counted of an artifact's answers since the service started.

        Args:
            artifact: its tag.
        """
        return counted(self._answers, artifact)

    def stage(self, stage: Stage, seconds: float) -> None:
        """Count how long one stage took."""
        self._stages[stage].observe(seconds)

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Count how long the block took, where it ended well."""
        started = time.perf_counter()
        yield
        self.stage(stage, time.perf_counter() - started)

    def feedback_refused(self, reason: Refused) -> None:
        """Count a true label that was refused: its receipt was none of ours or had expired, or another label was kept."""
        self._feedback_refused[reason].inc()

    def image_batch(self, size: int) -> None:
        """Count one batch of images that the model took."""
        self._batch_size.observe(size)

    def label_cache(self, hits: int, misses: int) -> None:
        """Count labels whose features were kept, and labels whose features were made."""
        self._hits.inc(hits)
        self._misses.inc(misses)
