"""Scores of whole probability vectors, not only of the predicted class: class-wise ECE, Brier and NLL."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from candor.calibration.bins import bin_index
from candor.errors import InvalidInput

CLASSWISE_BINS = 15
ROUNDING = 1e-3  # how far the sum of a row may be from 1: what half precision leaves


def classwise_ece(probabilities: ArrayLike, labels: ArrayLike, n_bins: int = CLASSWISE_BINS) -> float:
    """Class-wise ECE (Kull et al. 2019): each class's own ECE, one against the rest, averaged over the classes.

    (1/C) sum_c sum_b |#(label is c) - sum of p_c| / N over equal-width bins of p_c, right edge closed. Most of a row's
    probabilities are near 0 and right to be so, so the value shrinks as C grows: compare it for equal C only.

    Args:
        probabilities: (N, C), rows summing to 1.
        labels: (N,) integers in 0..C-1.
        n_bins: bins a class.

    Returns:
        0..1; NaN for no image.

    Raises:
        InvalidInput: see `brier`; or n_bins < 1.
    """
    p, y = _checked(probabilities, labels)
    b = bin_index(p.ravel(), n_bins).reshape(p.shape) + n_bins * np.arange(p.shape[1])
    if not len(p):
        return float("nan")
    confidence = np.bincount(b.ravel(), weights=p.ravel())
    correct = np.bincount(b[np.arange(len(p)), y], minlength=len(confidence))
    return float(np.abs(correct - confidence).sum() / p.size)


def brier(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Multi-class Brier score (Brier 1950), mean_i sum_c (p_ic - y_ic)^2 with y one-hot.

    Args:
        probabilities: (N, C), rows summing to 1.
        labels: (N,) integers in 0..C-1.

    Returns:
        0..2, 0 best; NaN for no image.

    Raises:
        InvalidInput: shapes that do not fit, a probability outside 0..1 or NaN, a row that does not sum to 1, or a label
            that is no class.
    """
    p, y = _checked(probabilities, labels)
    if not len(p):
        return float("nan")
    of_label = p[np.arange(len(p)), y]
    others = np.maximum((p * p).sum(axis=1) - of_label**2, 0)
    return float(((1 - of_label) ** 2 + others).mean())


def nll(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Negative log-likelihood, mean_i -log p_(i, label of i), in nats.

    Give probabilities in float64: in float32 a small one may have become 0.

    Args:
        probabilities: (N, C), rows summing to 1.
        labels: (N,) integers in 0..C-1.

    Returns:
        0 or more, 0 best; infinite where a label was given probability 0; NaN for no image.

    Raises:
        InvalidInput: see `brier`.
    """
    p, y = _checked(probabilities, labels)
    if not len(p):
        return float("nan")
    with np.errstate(divide="ignore"):
        return max(0.0, float(-np.log(p[np.arange(len(p)), y]).mean()))


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels)
    if p.ndim != 2 or y.shape != p.shape[:1]:
        raise InvalidInput(f"need probabilities (N, C) and labels (N,), got {p.shape} and {y.shape}")
    good = (p >= 0) & (p <= 1 + ROUNDING)
    if not good.all():
        raise InvalidInput(f"probability must be in 0..1, got {p[~good][0]}")
    sums = p.sum(axis=1)
    if (off := np.abs(sums - 1) > ROUNDING).any():
        raise InvalidInput(f"probabilities of an image must sum to 1, got {sums[off][0]}")
    if len(y) and not np.issubdtype(y.dtype, np.integer):
        raise InvalidInput(f"labels must be integers, got {y.dtype}")
    if (bad := (y < 0) | (y >= p.shape[1])).any():
        raise InvalidInput(f"label must be in 0..{p.shape[1] - 1}, got {y[bad][0]}")
    return np.minimum(p, 1.0), y.astype(np.int64)
