"""Fitting a temperature, and DAC's strength, to stored confidence curves and whether their predictions were right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from candor.calibration.confidence_curve import LEAST, confidence_at
from candor.calibration.fitting import GRID, TEMPERATURE_RANGE

MOST_STRENGTH = 2.0
EVIDENCE = 6.635  # 99 % of a chi-square with one degree of freedom
SUREST = 1 - LEAST  # a curve tells no confidence nearer to 1


@dataclass(frozen=True)
class CurveEvents:
    """Predictions whose true label is known.

    Attributes:
        time: of the prediction, in seconds, (N,).
        gamma: DAC's distance factor of the predicted label, (N,); 1 for base labels.
        curve: `confidence_curve` of the raw logits, (N, G).
        correct: whether the prediction was right, (N,) bool.
    """

    time: NDArray[np.float64]
    gamma: NDArray[np.float64]
    curve: NDArray[np.float64]
    correct: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time)

    def of(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> CurveEvents:
        """Some of them, or all in another order."""
        return CurveEvents(self.time[chosen], self.gamma[chosen], self.curve[chosen], self.correct[chosen])


@dataclass(frozen=True)
class Recalibration:
    """Multiplies logits by gamma^strength / temperature.

    Attributes:
        temperature: above 0.
        strength: 0 leaves DAC's distance factor out, 1 is DAC.
    """

    temperature: float
    strength: float = 0.0

    def confidence(self, events: CurveEvents) -> NDArray[np.float64]:
        """What it makes of the confidence of each prediction, (N,)."""
        factor = events.gamma**self.strength if self.strength else 1.0  # one for all is faster
        return confidence_at(events.curve, factor / self.temperature)

    def losses(self, events: CurveEvents) -> NDArray[np.float64]:
        """See `binary_nll`, (N,)."""
        return binary_nll(self.confidence(events), events.correct)


def binary_nll(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """-log c of a right prediction and -log(1 - c) of a wrong one, in nats.

    The log score of the statement "this is right with probability c": a proper score, so in expectation it is least where
    c is the share of right predictions. The log-likelihood of the true label, which `fit_temperature` has, needs the
    probability of that label; where the prediction was wrong, a receipt does not have it.

    Args:
        confidence: c, (N,).
        correct: (N,) bool.

    Returns:
        (N,), each 0 or more; that of a wrong prediction is at most -log(1 - SUREST), 17.3.
    """
    c = np.clip(confidence, 1 - SUREST, SUREST)
    return np.asarray(-np.log(np.where(correct, c, 1 - c)))


def fit_curves(events: CurveEvents, start: Recalibration, free_strength: bool) -> Recalibration:
    """The temperature, and perhaps the strength, that minimise the mean `binary_nll`.

    The temperature is fitted first, with the strength that there is. Another strength must then raise the likelihood by
    more than chance would in one of 100 cases (likelihood ratio, one more parameter), at a temperature that is inside its
    range; otherwise the old one stays. Where all distance factors are alike, no strength does.

    Args:
        events: at least one.
        start: has the strength that there is.
        free_strength: whether another one may be fitted, up to MOST_STRENGTH.

    Returns:
        The fit. A temperature at an end of TEMPERATURE_RANGE is one that the events leave open.
    """
    plain = Recalibration(_temperature(events, start.strength), start.strength)
    if not free_strength:
        return plain
    both = _temperature_and_strength(events, plain)
    gained = 2 * (plain.losses(events).sum() - both.losses(events).sum())
    return both if gained > EVIDENCE and is_inside(both.temperature) else plain


def is_inside(temperature: float) -> bool:
    """Whether a temperature is inside TEMPERATURE_RANGE; one at an end, up to the search's tolerance, is left open."""
    low, high = TEMPERATURE_RANGE
    return low * 1.001 < temperature < high / 1.001


def _mean_loss(events: CurveEvents, log_t: float, strength: float) -> float:
    return float(Recalibration(math.exp(log_t), strength).losses(events).mean())


def _temperature(events: CurveEvents, strength: float) -> float:
    """By the best of a grid, and a search between its neighbours: with many labels the loss may have several minima."""
    low, high = (math.log(t) for t in TEMPERATURE_RANGE)
    grid = np.linspace(low, high, GRID)
    best = int(np.argmin([_mean_loss(events, log_t, strength) for log_t in grid]))
    if best in (0, GRID - 1):
        return TEMPERATURE_RANGE[min(best, 1)]
    bounds = (grid[best - 1], grid[best + 1])
    found = minimize_scalar(
        lambda log_t: _mean_loss(events, log_t, strength), bounds=bounds, method="bounded", options={"xatol": 1e-5}
    )
    return math.exp(found.x)


def _temperature_and_strength(events: CurveEvents, start: Recalibration) -> Recalibration:
    low, high = (math.log(t) for t in TEMPERATURE_RANGE)
    found = minimize(
        lambda x: _mean_loss(events, x[0], x[1]),
        (math.log(start.temperature), start.strength),
        method="Nelder-Mead",  # the curves are interpolated, so the loss has kinks
        bounds=((low, high), (0, MOST_STRENGTH)),
        options={
            "xatol": 1e-4,
            "fatol": 1e-8,
            "initial_simplex": _simplex(math.log(start.temperature), start.strength),
        },
    )
    return Recalibration(math.exp(found.x[0]), float(found.x[1]))


def _simplex(log_t: float, strength: float) -> list[tuple[float, float]]:
    """Three points half a unit apart, inside the bounds."""
    inward = 0.5 if strength < MOST_STRENGTH / 2 else -0.5
    return [(log_t, strength), (log_t - math.copysign(0.5, log_t), strength), (log_t, strength + inward)]
