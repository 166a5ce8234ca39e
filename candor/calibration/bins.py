"""Reliability bins: the mergeable statistics that every calibration score is a function of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from candor.errors import InvalidInput

DEFAULT_BINS = 10  # as the authors of DAC and DOR


@dataclass(frozen=True)
class ReliabilityBins:
    """Per equal-width confidence bin: how many predictions, the sum of their confidence, how many were correct.

    Bin b of M holds confidences in (b/M, (b+1)/M]; the first holds 0 too, so that every confidence falls in one bin.
    Bins add up across batches, workers and time.

    Attributes:
        count: predictions, (M,) float64.
        confidence: sum of confidence, (M,) float64.
        correct: number of correct predictions, (M,) float64.
    """

    count: NDArray[np.float64]
    confidence: NDArray[np.float64]
    correct: NDArray[np.float64]

    @classmethod
    def of(cls, confidence: ArrayLike, correct: ArrayLike, n_bins: int = DEFAULT_BINS) -> ReliabilityBins:
        """Bins of single predictions.

        Args:
            confidence: probability of the predicted class, (N,), each in 0..1.
            correct: whether the prediction was right, (N,) of 0/1 or bool.
            n_bins: M.

        Raises:
            InvalidInput: lengths differ, a confidence is outside 0..1 or NaN, a correctness is neither 0 nor 1, or
                n_bins < 1.
        """
        c, k = predictions(confidence, correct)
        b = bin_index(c, n_bins)
        return cls(*(np.bincount(b, weights=w, minlength=n_bins).astype(np.float64) for w in (np.ones_like(c), c, k)))

    def __add__(self, other: ReliabilityBins) -> ReliabilityBins:
        if len(self.count) != len(other.count):
            raise InvalidInput(f"cannot add {len(self.count)} and {len(other.count)} bins")
        return ReliabilityBins(self.count + other.count, self.confidence + other.confidence, self.correct + other.correct)

    def merged(self, factor: int) -> ReliabilityBins:
        """Fewer and wider bins of the same predictions: 20 are 10 with a factor of 2.

        Args:
            factor: how many neighbours become one.

        Raises:
            InvalidInput: the number of bins is no multiple of it.
        """
        if factor < 1 or len(self.count) % factor:
            raise InvalidInput(f"{len(self.count)} bins cannot be merged by {factor}")
        return ReliabilityBins(*(c.reshape(-1, factor).sum(axis=1) for c in (self.count, self.confidence, self.correct)))

    @property
    def total(self) -> float:
        """Number of predictions."""
        return float(self.count.sum())

    def to_lists(self) -> dict[str, list[float]]:
        """The three columns as plain lists, for JSON."""
        return {"count": self.count.tolist(), "confidence": self.confidence.tolist(), "correct": self.correct.tolist()}


def predictions(confidence: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Checked columns of single predictions.

    Args:
        confidence: (N,), each in 0..1.
        correct: (N,) of 0/1 or bool.

    Returns:
        Both as (N,) float64.

    Raises:
        InvalidInput: lengths differ, a confidence is outside 0..1 or NaN, or a correctness is neither 0 nor 1.
    """
    c, k = np.asarray(confidence, np.float64).ravel(), np.asarray(correct, np.float64).ravel()
    if len(c) != len(k):
        raise InvalidInput(f"{len(c)} confidences but {len(k)} correctness values")
    for name, values, good in (("confidence", c, (c >= 0) & (c <= 1)), ("correctness", k, (k == 0) | (k == 1))):
        if not good.all():
            raise InvalidInput(f"{name} must be {'in 0..1' if values is c else '0 or 1'}, got {values[~good][0]}")
    return c, k


def check_bins(n_bins: int) -> None:
    """Refuse a number of bins below 1.

    Raises:
        InvalidInput: it is.
    """
    if n_bins < 1:
        raise InvalidInput(f"number of bins must be at least 1, got {n_bins}")


def bin_index(confidence: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    """The equal-width bin of each confidence, right edge closed: ceil(M c) - 1, decided by comparison with the edges b/M.

    Raises:
        InvalidInput: n_bins < 1.
    """
    check_bins(n_bins)
    edges = np.arange(n_bins + 1) / n_bins
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)
