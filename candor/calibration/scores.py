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


def mce(bins: ReliabilityBins, least: float = 1) -> float:
    """Maximum calibration error, max_b |acc_b - conf_b| over bins with predictions, 0..1 (Guo et al. 2017, eq. 5).

    A bin with one prediction counts as much as a bin with a thousand; `mce_weighted` does not have that weakness.

    Args:
        bins: of the predictions.
        least: predictions that a bin must have to be looked at; NaN where none has so many.
    """
    held = (bins.count > 0) & (bins.count >= least)
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


def gap_floor(bins: ReliabilityBins) -> float:
    """How far from 0 the gap of a perfectly calibrated model lies by chance: two standard errors, in 95 samples of 100.

    2 sqrt(sum_b n_b c_b (1 - c_b)) / N: the number of correct predictions is a sum of binomials around the confidences.
    """
    c = bins.confidence / np.maximum(bins.count, 1)
    return _share(2 * float(np.sqrt((bins.count * c * (1 - c)).clip(min=0).sum())), bins)


def debiased_l2(bins: ReliabilityBins) -> float:
    """Squared L2 calibration error without the bias of small bins (Kumar et al. 2019, section 5).

    sum_b n_b / N [(conf_b - acc_b)^2 - acc_b (1 - acc_b) / (n_b - 1)] over bins of two or more. It is 0 on average for a
    calibrated model, and so below 0 half of the time; the plain square grows as bins get emptier. A bin of one adds 0, as
    in the authors' code.

    Returns:
        -1..1, a square: its root is in the unit of confidence.
    """
    enough = bins.count >= 2
    n, confidence, correct = (column[enough] for column in (bins.count, bins.confidence, bins.correct))
    squares = (confidence - correct) ** 2 / n - correct * (1 - correct / n) / (n - 1)
    return _share(float(squares.sum()), bins)
