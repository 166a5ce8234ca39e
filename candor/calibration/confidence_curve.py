"""The confidence of a prediction under any temperature, kept in a few numbers instead of its logits.

A calibrator multiplies the logits z of an image by some m > 0, which leaves the confidence 1 / sum_c exp(m (z_c - max z)).
That is one smooth function of m an image. Its values on a grid are enough to know it in between, so that feedback can be
calibrated anew, and another calibrator judged on it, long after images and logits are gone.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from torch import Tensor

from candor.errors import InvalidInput

MULTIPLIERS: NDArray[np.float64] = np.geomspace(0.05, 20, 40)  # as far as temperatures are fitted, both ways
LEAST = 2.0**-25  # half of float16's smallest number: what it rounds to 0 is known to be no more
LOWEST = -80.0  # of exponents: below, exp gives numbers that processors are slow with, and that change nothing
MOST_AT_ONCE = 2**22  # numbers in memory

_GRID = MULTIPLIERS.astype(np.float32)[:, None]
_SPLINES = CubicSpline(np.log(MULTIPLIERS), np.eye(len(MULTIPLIERS)))  # a spline is linear in the values it goes through


def confidence_curve(logits: Tensor) -> Tensor:
    """-log p of the most probable label at every multiplier: log sum_c exp(m (z_c - max z)).

    Args:
        logits: (B, C), as the model scales them, without any calibrator.

    Returns:
        (B, G) float32 at MULTIPLIERS, 0..log C, falling along each row. May be kept in float16, which moves `confidence_at`
        by no more than 2e-4.
    """
    z = np.partition(logits.detach().float().cpu().numpy(), -1, axis=-1)  # the largest last
    others = z[:, :-1] - z[:, -1:]  # without the largest: 1 + a small sum would round the sum
    rows = max(1, MOST_AT_ONCE // (len(_GRID) * z.shape[1]))
    curve = np.empty((len(z), len(_GRID)), np.float32)
    for start in range(0, len(z), rows):
        powers = others[start : start + rows, None] * _GRID
        np.maximum(powers, LOWEST, out=powers)
        curve[start : start + rows] = np.exp(powers, out=powers).sum(axis=-1)
    return torch.from_numpy(np.log1p(curve, out=curve))


def confidence_at(curve: ArrayLike, multiplier: ArrayLike) -> NDArray[np.float64]:
    """The confidence of predictions under other multipliers of their logits, from their curves.

    A cubic spline in log m goes through log(-log p). For multipliers 0.1..10 and up to 1000 labels it comes within 3e-4
    of the logits' softmax, towards the ends of the grid within 2e-3. Beyond the grid the value of its end is taken.

    Args:
        curve: of `confidence_curve`, (N, G); may have been rounded to float16.
        multiplier: of each, (N,) or one for all; 1 / T for a temperature T.

    Returns:
        (N,) float64 in 0..1.

    Raises:
        InvalidInput: shapes that do not fit, or a multiplier that is not above 0.
    """
    values, m = np.asarray(curve, np.float64), np.asarray(multiplier, np.float64)
    if values.ndim != 2 or values.shape[1] != len(MULTIPLIERS) or m.shape not in ((), values.shape[:1]):
        raise InvalidInput(f"need curves (N, {len(MULTIPLIERS)}) and multipliers (N,), got {values.shape} and {m.shape}")
    if not (m > 0).all():
        raise InvalidInput("multipliers of logits must be above 0")
    inside = np.log(np.clip(m, MULTIPLIERS[0], MULTIPLIERS[-1]))
    weights: NDArray[np.float64] = _SPLINES(inside)  # (N, G), or (G,) for all
    confidence: NDArray[np.float64] = np.exp(-np.exp((np.log(np.maximum(values, LEAST)) * weights).sum(axis=-1)))
    return confidence
