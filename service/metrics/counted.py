"""What was counted of an artifact's answers, read back from the metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from candor.clip.artifact import SCOPES, Scope
from service.feedback.bins import BIN_NAMES
from service.feedback.receipt import KNOWN
from service.metrics.exposition import several_processes
from service.metrics.families import AnswerFamilies

if TYPE_CHECKING:
    from prometheus_client.core import Metric

NAN = float("nan")
Found = dict[str, dict[tuple[str, ...], float]]  # name of a series -> its labels without the artifact, in order -> value


@dataclass(frozen=True)
class Counted:
    """Of all worker processes, since the service started. Means are NaN where there was nothing.

    Attributes:
        bins: monitored predictions in each of 20 confidence bins, (20,), by scope.
        mean_confidence: of those, by scope.
        known: all predictions by scope and by "true", "false" and "unscored".
        text_deviation: mean over requests.
        divergence: mean FD over requests of two or more labels.
    """

    bins: dict[Scope, NDArray[np.float64]]
    mean_confidence: dict[Scope, float]
    known: dict[Scope, dict[str, float]]
    text_deviation: float
    divergence: float


def counted(families: AnswerFamilies, artifact: str) -> Counted:
    """Read an artifact's counts.

    Args:
        families: of this process; with several, their files are read instead.
        artifact: tag.
    """
    found = _found(_collected(families), artifact)

    def mean(name: str, *labels: str) -> float:
        number = found[f"{name}_count"].get(labels, 0)
        return found[f"{name}_sum"][labels] / number if number else NAN

    in_bins, predictions = found["candor_confidence_bin_total"], found["candor_predictions_total"]
    return Counted(
        {s: np.array([in_bins.get((name, s), 0) for name in BIN_NAMES], np.float64) for s in SCOPES},
        {s: mean("candor_confidence", s) for s in SCOPES},
        {s: {known: predictions.get((known, s), 0) for known in KNOWN} for s in SCOPES},
        mean("candor_text_deviation"),
        mean("candor_divergence"),
    )


def _collected(families: AnswerFamilies) -> Iterable[Metric]:
    if several_processes():
        from prometheus_client.multiprocess import MultiProcessCollector

        yield from MultiProcessCollector(None).collect()  # type: ignore[no-untyped-call]
        return
    for family in (
        families.predictions,
        families.confidence,
        families.confidence_bins,
        families.text_deviation,
        families.divergence,
    ):
        yield from family.collect()


def _found(metrics: Iterable[Metric], artifact: str) -> Found:
    found: Found = defaultdict(dict)
    for sample in (sample for metric in metrics for sample in metric.samples):
        if sample.labels.get("artifact") == artifact and "le" not in sample.labels:
            labels = tuple(value for name, value in sorted(sample.labels.items()) if name != "artifact")
            found[sample.name][labels] = sample.value
    return found
