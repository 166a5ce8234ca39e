"""How far a confidence distribution has moved from another, without labels. Of counts in equal-width bins over 0..1.

Bins are those of `candor.calibration.bins`, and both counts must have the same. Each distance is NaN where either side is
empty, and has a floor beside it: what a sample of that size shows by chance alone. Fixed limits ignore the size: of 100
predictions that have not moved at all, PSI against 20,000 exceeds 0.1 in nine samples of ten.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri

from candor.errors import InvalidInput

HALF = 0.5  # added to every count, so that no logarithm is infinite
ALPHA = 0.01  # chance of a distance above its floor where nothing has moved
NAN = float("nan")


def psi(counts: ArrayLike, reference: ArrayLike) -> float:
    """Population stability index, sum_b (p_b - q_b) ln(p_b / q_b), 0 or more: the symmetric Kullback-Leibler divergence.

    Shares are smoothed on both sides: p_b = (n_b + 1/2) / (n + B/2).

    Args:
        counts: predictions in each bin, (B,).
        reference: of what is compared with, (B,).

    Raises:
        InvalidInput: the lengths differ or are 0, or a count is negative or not finite.
    """
    n, m = _counts(counts, reference)
    if not n.any() or not m.any():
        return NAN
    p, q = ((c + HALF) / (c.sum() + HALF * len(c)) for c in (n, m))
    return float(((p - q) * np.log(p / q)).sum())


def psi_floor(n: float, m: float, bins: int = 20, alpha: float = ALPHA) -> float:
    """What PSI exceeds with a chance of about `alpha` where both samples are of one distribution.

    chi2_{B-1, 1-alpha} (1/n + 1/m): to second order PSI is sum_b (p_b - q_b)^2 / q_b, and that divided by (1/n + 1/m) is
    Pearson's statistic of two samples (Yurdakul 2018, "Statistical properties of the population stability index").
    Smoothing and bins that are all but empty make the chance smaller.

    Args:
        n: size of the one sample.
        m: size of the other.
        bins: B.
        alpha: the chance, above 0 and below 1.

    Returns:
        A value of `psi`; NaN where a sample is empty.
    """
    if min(n, m) <= 0:
        return NAN
    return float(chdtri(bins - 1, alpha)) * (1 / n + 1 / m)


def ks(counts: ArrayLike, reference: ArrayLike) -> float:
    """Kolmogorov-Smirnov distance at the edges of the bins, max_b |F_b - G_b|, 0..1.

    The distance of the samples themselves is at least as large, by at most the largest share of a bin.

    Args:
        counts: predictions in each bin, (B,).
        reference: of what is compared with, (B,).

    Raises:
        InvalidInput: as `psi`.
    """
    difference = _cumulated(counts, reference)
    return float(np.abs(difference).max()) if difference is not None else NAN


def ks_floor(n: float, m: float, alpha: float = ALPHA) -> float:
    """What the KS distance exceeds with a chance of at most about `alpha` where both samples are of one distribution.

    sqrt(-ln(alpha / 2) / 2) sqrt(1/n + 1/m), 1.628 for 1 %: the first term of Kolmogorov's distribution. It is made for
    samples that are not binned; bins make the distance, and so the chance, smaller.

    Args:
        n: size of the one sample.
        m: size of the other.
        alpha: the chance, above 0 and below 1.

    Returns:
        A value of `ks`; NaN where a sample is empty.
    """
    if min(n, m) <= 0:
        return NAN
    return math.sqrt(-math.log(alpha / 2) / 2 * (1 / n + 1 / m))


def wasserstein(counts: ArrayLike, reference: ArrayLike) -> float:
    """Wasserstein-1 distance of the binned distributions, sum_b |F_b - G_b| / B, 0..1: how far confidence moved on average.

    As if every prediction lay at the middle of its bin, so it is within one bin's width of the samples' own distance.

    Args:
        counts: predictions in each bin, (B,).
        reference: of what is compared with, (B,).

    Raises:
        InvalidInput: as `psi`.
    """
    difference = _cumulated(counts, reference)
    return float(np.abs(difference).sum() / len(difference)) if difference is not None else NAN


def _cumulated(counts: ArrayLike, reference: ArrayLike) -> NDArray[np.float64] | None:
    """F - G at the upper edge of each bin; None where a side is empty."""
    n, m = _counts(counts, reference)
    if not n.any() or not m.any():
        return None
    return np.asarray(n.cumsum() / n.sum() - m.cumsum() / m.sum())


def _counts(counts: ArrayLike, reference: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n, m = np.asarray(counts, np.float64), np.asarray(reference, np.float64)
    if n.ndim != 1 or n.shape != m.shape or not len(n):
        raise InvalidInput(f"cannot compare counts of shapes {n.shape} and {m.shape}; both must have the same bins")
    for c in (n, m):
        bad = ~(np.isfinite(c) & (c >= 0))
        if bad.any():
            raise InvalidInput(f"counts must be 0 or more, got {c[bad][0]}")
    return n, m
