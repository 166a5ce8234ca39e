"""Scores whose bins follow the data: adaptive ECE, and PIECE with its proximity."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from candor.calibration.bins import DEFAULT_BINS, bin_index, check_bins, predictions
from candor.errors import InvalidInput

NEAREST = 5  # K of proximity, as the authors of PIECE
SAME_EDGE = 1e-8  # edges closer than this are one edge, as in scikit-learn's KBinsDiscretizer
CHUNK = 1024  # rows of a distance matrix held at once


def adaptive_ece(confidence: ArrayLike, correct: ArrayLike, n_bins: int = DEFAULT_BINS) -> float:
    """ACE: ECE with quantile bins, sum_b (n_b / N) |acc_b - conf_b|, as the code of the DAC and DOR authors has it.

    The edges are the quantiles b/M of the confidences. A bin holds its left edge; the last holds both. Equal confidences
    are always in one bin, so the order of the predictions does not matter; edges that are equal are one edge, so many equal
    confidences make fewer bins than M.

    Args:
        confidence: probability of the predicted class, (N,), each in 0..1.
        correct: whether the prediction was right, (N,) of 0/1 or bool.
        n_bins: M.

    Returns:
        0..1; NaN for no prediction.

    Raises:
        InvalidInput: see `ReliabilityBins.of`.
    """
    c, k = predictions(confidence, correct)
    return _binned_gap(c, k, quantile_index(c, n_bins))


def piece(
    confidence: ArrayLike,
    correct: ArrayLike,
    proximity: ArrayLike,
    n_bins: int = DEFAULT_BINS,
    n_proximity_bins: int = DEFAULT_BINS,
) -> float:
    """PIECE (Xiong et al. 2023): ECE over bins of proximity and confidence, sum_kb (n_kb / N) |acc_kb - conf_kb|.

    It sees what ECE averages away: over-confidence far from the reference images that under-confidence near them makes up
    for. Proximity bins are quantiles, as in `adaptive_ece`; confidence bins are equally wide, as in `ReliabilityBins`.

    Args:
        confidence: probability of the predicted class, (N,), each in 0..1.
        correct: whether the prediction was right, (N,) of 0/1 or bool.
        proximity: of each image, (N,), see `proximity`.
        n_bins: confidence bins.
        n_proximity_bins: proximity bins.

    Returns:
        0..1, never below ECE with the same confidence bins; NaN for no prediction.

    Raises:
        InvalidInput: see `ReliabilityBins.of`; or a proximity is not finite, or there is not one a prediction.
    """
    c, k = predictions(confidence, correct)
    p = np.asarray(proximity, np.float64).ravel()
    if len(p) != len(c):
        raise InvalidInput(f"{len(p)} proximities but {len(c)} confidences")
    if not np.isfinite(p).all():
        raise InvalidInput(f"proximity must be finite, got {p[~np.isfinite(p)][0]}")
    return _binned_gap(c, k, quantile_index(p, n_proximity_bins) * n_bins + bin_index(c, n_bins))


def proximity(image_features: ArrayLike, reference_features: ArrayLike, k: int = NEAREST) -> NDArray[np.float64]:
    """exp(-mean L2 distance to the k nearest reference features): 1 on top of them, towards 0 far from them.

    The nearest are found from dot products; their distances are then computed from differences, which loses nothing
    where two features are almost the same.

    Args:
        image_features: (N, D).
        reference_features: (R, D), of other images; at most R of them are used.
        k: K.

    Returns:
        (N,) float64, each in 0..1.

    Raises:
        InvalidInput: the shapes do not fit, there is no reference, a value is not finite, or k < 1.
    """
    x, r = np.asarray(image_features, np.float64), np.asarray(reference_features, np.float64)
    if x.ndim != 2 or r.ndim != 2 or x.shape[1] != r.shape[1] or not len(r):
        raise InvalidInput(f"proximity needs (N, D) and (R, D) features with R at least 1, got {x.shape} and {r.shape}")
    if not (np.isfinite(x).all() and np.isfinite(r).all()):
        raise InvalidInput("proximity needs finite features, got NaN or infinity")
    if k < 1:
        raise InvalidInput(f"number of nearest features must be at least 1, got {k}")
    k = min(k, len(r))
    distance = np.empty(len(x))
    for start in range(0, len(x), CHUNK):
        part = x[start : start + CHUNK]
        order = (r * r).sum(axis=1) - 2 * part @ r.T  # squared distance less |x|^2, which does not change the order
        nearest = np.argpartition(order, k - 1, axis=1)[:, :k]
        distance[start : start + CHUNK] = np.linalg.norm(part[:, None] - r[nearest], axis=-1).mean(axis=1)
    return np.exp(-distance)


def quantile_index(values: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    """The quantile bin of each value: bins closed on the left, edges by linear interpolation, equal edges merged.

    Args:
        values: (N,), finite.
        n_bins: M, the most bins there can be.

    Returns:
        (N,), each 0..M-1.

    Raises:
        InvalidInput: n_bins < 1.
    """
    check_bins(n_bins)
    if not len(values):
        return np.zeros(0, np.int64)
    edges = np.quantile(values, np.arange(n_bins + 1) / n_bins)
    edges = edges[np.diff(edges, prepend=-np.inf) > SAME_EDGE]
    return np.searchsorted(edges[1:-1], values, side="right")


def _binned_gap(confidence: NDArray[np.float64], correct: NDArray[np.float64], b: NDArray[np.int64]) -> float:
    """sum_b |correct_b - confidence_b| / N over any bins."""
    if not len(b):
        return float("nan")
    gaps = np.bincount(b, weights=correct) - np.bincount(b, weights=confidence)
    return float(np.abs(gaps).sum() / len(b))
