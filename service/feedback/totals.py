"""The feedback families of `/metrics`, read from the store when Prometheus asks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from candor.clip.artifact import SCOPES
from service.feedback.bins import BIN_NAMES
from service.feedback.database import reason
from service.feedback.receipt import KNOWN
from service.feedback.tallies import ScopeTotals

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, Metric

log = logging.getLogger("candor.feedback")

READ_SECONDS = 2.0  # Prometheus waits for 10 at most, and for all other figures too

Totals = Mapping[tuple[str, str], ScopeTotals]

BY_BIN = {  # name -> text, and the column of the bins
    "feedback": ("True labels among the request's, by the confidence of the prediction", "count"),
    "feedback_confidence_sum": ("Sum of the confidence of predictions with a true label", "confidence"),
    "feedback_correct": ("Predictions that their true label confirms", "correct"),
}


class FeedbackCollector:
    """Counters of the first label of each prediction, as the store's totals have them: they never lose or double one.

    Args:
        totals: reads them.
        begin: has those of an artifact kept at zero, so that its series are there after a restart too, when another one
            is served and labels come late.
    """

    def __init__(self, totals: Callable[[], Totals], begin: Callable[[str], None] = lambda _: None) -> None:
        self._totals_now, self._begin = totals, begin
        self._artifacts: set[str] = set()
        self._begun: set[str] = set()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "feedback-totals")

    def prepare(self, artifact: str) -> None:
        """Have the series of an artifact at zero before anything is counted.

        Args:
            artifact: its tag.
        """
        with self._lock:
            self._artifacts.add(artifact)

    def collect(self) -> Iterable[Metric]:
        """All families; where the store cannot be read, none but that it cannot.

        What was read before would not do: a worker that read it earlier than another has less, and a counter that goes down
        looks like one that starts again, whose total would be counted twice. A gap costs nothing.
        """
        from prometheus_client.core import GaugeMetricFamily

        totals = self._totals()
        if totals is not None:
            yield from _by_bin(totals)
            yield from _by_scope(totals)
        up = float(totals is not None)
        yield GaugeMetricFamily("candor_feedback_store_up", "Whether the feedback store can be read", value=up)

    def _read(self) -> Totals:
        with self._lock:
            new = sorted(self._artifacts - self._begun)
        for artifact in new:
            try:
                self._begin(artifact)
                self._begun.add(artifact)
            except SQLAlchemyError as error:  # the figures can be read all the same, perhaps
                log.error("the feedback store cannot be written: %s", reason(error))
        return self._totals_now()

    def _totals(self) -> Totals | None:
        reading = self._thread.submit(self._read)
        try:
            found = reading.result(READ_SECONDS)
        except TimeoutError:
            reading.cancel()  # where one hangs, no other is begun
            log.error("the feedback store cannot be read within %g s", READ_SECONDS)
            return None
        except SQLAlchemyError as error:
            log.error("the feedback store cannot be read: %s", reason(error))
            return None
        with self._lock:
            zeros: Totals = {key: ScopeTotals.none() for key in product(sorted(self._artifacts), SCOPES)}
        return {**zeros, **found}


def _family(name: str, text: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(f"candor_{name}", text, labels=labels)


def _by_bin(totals: Totals) -> Iterable[Metric]:
    for name, (text, column) in BY_BIN.items():
        family = _family(name, text, ("artifact", "scope", "bin"))
        for (artifact, scope), found in totals.items():
            for bin_, value in zip(BIN_NAMES, getattr(found.bins, column).tolist(), strict=True):
                family.add_metric((artifact, scope, bin_), value)
        yield family


def _by_scope(totals: Totals) -> Iterable[Metric]:
    both = ("artifact", "scope")
    error = _family("feedback_squared_error", "Sum of (confidence - correct)^2", both)
    outside = _family("feedback_outside", "True labels that were none of the request's", (*both, "known"))
    overwritten = _family("feedback_overwritten", "True labels that were replaced by another one", both)
    for key, found in totals.items():
        error.add_metric(key, found.squared_error)
        overwritten.add_metric(key, found.overwritten)
        for known in KNOWN:
            outside.add_metric((*key, known), found.outside.get(known, 0))
    return error, outside, overwritten
