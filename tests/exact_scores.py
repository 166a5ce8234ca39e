"""Calibration and drift in numpy, over events one by one; and how far a rolling window of Prometheus may be from them.

Prometheus sees a counter at its scrapes alone, and stretches what it sees to the whole window. So an event counts with a
weight w: 0 to 1 + phi near the window's edges, where the scrape that shows it may lie on the other side, and 1 to 1 + phi
between them, where phi is what the stretching adds. For a mean F of x, over N events that are surely seen,
    |F_w - F| <= (sum over the edges of |x - F| + sum of phi (|x| + |F|)) / N,
where |x| is |c| + |k| for x = c - k: sums of confidence and of correct may be stretched differently. ECE moves by no more
than its own |c - k| summed so, since a sum of absolute values does; KS and Wasserstein are made of means of [c <= edge].
PSI is bounded by the largest and the smallest shares that the weights allow, since each of its terms is convex.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
Bounded = dict[str, tuple[float, float]]
EDGES = np.arange(1, 21) / 20


@dataclass(frozen=True)
class Events:
    """Predictions, and what is known of how Prometheus counts them.

    Attributes:
        confidence: (n,).
        correct: 0 or 1, (n,); of predictions without labels it does not matter.
        true: whether each is within the window, (n,).
        seen: whether each is within it and surely counted whole, (n,).
        phi: what stretching adds to each at most, (n,).
    """

    confidence: Values
    correct: Values
    true: Flags
    seen: Flags
    phi: Values

    @classmethod
    def exact(cls, confidence: list[float], correct: list[bool] | None = None) -> Events:
        """Events that are all counted once."""
        c = np.array(confidence, np.float64)
        k = np.zeros_like(c) if correct is None else np.array(correct, np.float64)
        all_of_them = np.ones(len(c), bool)
        return cls(c, k, all_of_them, all_of_them, np.zeros(len(c)))


def calibration(events: Events) -> Bounded:
    """Each score, and its bound."""
    c, k = events.confidence, events.correct
    found = {
        "accuracy": _mean(k, k, events),
        "gap": _mean(c - k, c + k, events),
        "brier": _mean((c - k) ** 2, (c - k) ** 2, events),
    }
    for bins in (10, 20):
        ece = sum(abs(gap.sum()) for gap in _gaps(events, bins)) / events.true.sum()
        found[f"ece{bins}"] = float(ece), _bound(np.abs(c - k) + ece, c + k + ece, events)
    return found


def mce(events: Events, bins: int, least: int = 10) -> float:
    """The largest gap of a bin with at least so many events."""
    return max(float(abs(gap.mean())) for gap in _gaps(events, bins) if len(gap) >= least)


def drift(events: Events, reference: list[float]) -> Bounded:
    """As `calibration`, of the distances from the counts of a reference in 20 bins."""
    c = events.confidence
    below = (c[:, None] <= EDGES).astype(np.float64)
    f, off = np.array([_mean(column, column, events) for column in below.T]).T
    g = np.cumsum(reference) / np.sum(reference)
    return {
        "confidence": _mean(c, c, events),
        "psi": _psi(events, np.array(reference, np.float64)),
        "ks": (float(np.abs(f - g).max()), float(off.max())),
        "wasserstein": (float(np.abs(f - g).sum() / 20), float(off.sum() / 20)),
    }


def _psi(events: Events, m: Values) -> tuple[float, float]:
    bin_ = np.searchsorted(EDGES, events.confidence)  # right edge closed
    q = (m + 0.5) / (m.sum() + 10)
    counts = np.bincount(bin_[events.true], minlength=20)
    p = (counts + 0.5) / (counts.sum() + 10)
    least, most = np.bincount(bin_[events.seen], minlength=20), np.bincount(bin_, 1 + events.phi, minlength=20)
    low, high = (least + 0.5) / (most.sum() + 10), (most + 0.5) / (least.sum() + 10)
    terms = np.array([(share - q) * np.log(share / q) for share in (low, p, high)])
    smallest = np.where((low <= q) & (q <= high), 0, terms.min(0))
    return float(terms[1].sum()), float(np.maximum(terms.max(0) - terms[1], terms[1] - smallest).sum())


def _gaps(events: Events, bins: int) -> list[Values]:
    """Confidence minus correct of the events within each bin."""
    bin_ = np.searchsorted(np.arange(1, bins + 1) / bins, events.confidence)
    gaps = events.confidence - events.correct
    return [gaps[(bin_ == b) & events.true] for b in range(bins)]


def _mean(x: Values, size: Values, events: Events) -> tuple[float, float]:
    mean = float(x[events.true].mean())
    return mean, _bound(np.abs(x - mean), size + abs(mean), events)


def _bound(off: Values, stretched: Values, events: Events) -> float:
    if not events.seen.any():
        return float("inf")
    return float((off[~events.seen].sum() + (events.phi * stretched).sum()) / events.seen.sum())
