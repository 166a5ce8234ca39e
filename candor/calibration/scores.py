"""Scores of reliability bins. Each is NaN where there is no prediction."""

from __future__ import annotations

import numpy as np

from candor.calibration.bins import ReliabilityBins


def _share(value: float, bins: ReliabilityBins) -> float:
    return float(value / bins.total) if bins.total else float("nan")


def accuracy(bins: ReliabilityBins) -> float:
    """Share of correct predictions, 0..1."""
    return _share(bins.correct.sum(), bins)


def mean_confidence(bins: ReliabilityBins) -> float:
    """Mean probability of the predicted class, 0..1."""
    return _share(bins.confidence.sum(), bins)


def gap(bins: ReliabilityBins) -> float:
    """Mean confidence minus accuracy: positive where over-confident, negative where under-confident."""
    return mean_confidence(bins) - accuracy(bins)


def ece(bins: ReliabilityBins) -> float:
    """Expected calibration error, sum_b (n_b / N) |acc_b - conf_b|, 0..1 (Guo et al. 2017, eq. 3).

    Computed as sum_b |correct_b - confidence_b| / N, which needs no division per bin: an empty bin adds 0.
    """
    return _share(float(np.abs(bins.correct - bins.confidence).sum()), bins)


def mce(bins: ReliabilityBins) -> float:
    """Maximum calibration error, max_b |acc_b - conf_b| over bins with a prediction, 0..1 (Guo et al. 2017, eq. 5).

    A bin with one prediction counts as much as a bin with a thousand; `mce_weighted` does not have that weakness.
    """
    held = bins.count > 0
    if not held.any():
        return float("nan")
    return float((np.abs(bins.correct - bins.confidence)[held] / bins.count[held]).max())


def mce_weighted(bins: ReliabilityBins) -> float:
    """The largest term of ECE, max_b (n_b / N) |acc_b - conf_b|, 0..1: MCE in the code of the DAC and DOR authors."""
    return _share(float(np.abs(bins.correct - bins.confidence).max()), bins)


def noise_floor(bins: ReliabilityBins) -> float:
    """The ECE that a perfectly calibrated model is expected to show on this many predictions by chance alone.

    sum_b sqrt(2/pi n_b c_b (1 - c_b)) / N: each bin's count of correct predictions is binomial around its confidence, and
    the mean absolute value of a normal variable is sqrt(2/pi) of its standard deviation.
    """
    n = np.maximum(bins.count, 1)
    c = bins.confidence / n
    return _share(float(np.sqrt(2 / np.pi * bins.count * c * (1 - c)).sum()), bins)
