"""Healing: a better calibrator from feedback, or the reason why there is none.

The raw logits of a prediction are gone when its true label arrives. Its receipt keeps the confidence that the logits give
under any multiplier (`confidence_curve`), so the confidence under any temperature and any strength of DAC's distance factor
is known, and the calibrator that would have been best can be found without images. docs/calibration-in-production.md says
what that can and cannot do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from candor.calibration import scores
from candor.calibration.bins import ReliabilityBins
from candor.calibration.calibrators import (
    Calibrator,
    DistanceAwareCalibrator,
    ScopedCalibrator,
    TemperatureCalibrator,
)
from candor.calibration.curve_fitting import CurveEvents, Recalibration, fit_curves, is_inside
from candor.calibration.fitting import TEMPERATURE_RANGE

ScopeName = Literal["base", "new"]
BINS = 20  # as the service's metrics
FIT_SHARE = 0.7
LEAST_FITTED, LEAST_JUDGED = 200, 100  # labelled predictions of a scope, before and after the cut
STANDARD_ERRORS = 2.0  # that a gain must be above 0


@dataclass(frozen=True)
class Judgement:
    """What a calibrator does on the held-out predictions of a scope.

    Attributes:
        confidence: under the calibrator, (N,).
        correct: (N,) bool.
        losses: `binary_nll`, (N,).
    """

    confidence: NDArray[np.float64]
    correct: NDArray[np.bool_]
    losses: NDArray[np.float64]

    @classmethod
    def of(cls, recalibration: Recalibration, events: CurveEvents) -> Judgement:
        """Judge on some events."""
        return cls(recalibration.confidence(events), events.correct, recalibration.losses(events))

    @property
    def bins(self) -> ReliabilityBins:
        """Reliability bins (20)."""
        return ReliabilityBins.of(self.confidence, self.correct, BINS)

    def figures(self) -> dict[str, float]:
        """accuracy, confidence, gap, ece, ece_noise_floor (20 bins), brier (of "it is right", 0..1), nll (nats)."""
        bins, none = self.bins, not len(self.correct)
        return {
            "accuracy": scores.accuracy(bins),
            "confidence": scores.mean_confidence(bins),
            "gap": scores.gap(bins),
            "ece": scores.ece(bins),
            "ece_noise_floor": scores.noise_floor(bins),
            "brier": math.nan if none else float(((self.confidence - self.correct) ** 2).mean()),
            "nll": math.nan if none else float(self.losses.mean()),
        }


@dataclass(frozen=True)
class ScopeHealing:
    """What feedback says about one scope.

    Attributes:
        fitted: number of labelled predictions that the new calibrator was fitted to.
        judged: number of those after them, that it was judged on.
        since, cut, until: times of the first, of the last fitted and of the last prediction; NaN where there is none.
        present: what the calibrator does now.
        found: what would be better; the present one where nothing was fitted.
        before, after: both on the predictions after the cut.
        objection: why the scope keeps its present one, as a clause; None where it is healed.
    """

    fitted: int
    judged: int
    since: float
    cut: float
    until: float
    present: Recalibration
    found: Recalibration
    before: Judgement
    after: Judgement
    objection: str | None

    @property
    def chosen(self) -> Recalibration:
        """What is to be used: `found` where nothing speaks against it."""
        return self.present if self.objection else self.found

    @property
    def gain(self) -> tuple[float, float]:
        """Mean of how much NLL falls from before to after on the same predictions, and its standard error."""
        return _paired(self.before, self.after)


@dataclass(frozen=True)
class Healing:
    """The outcome.

    Attributes:
        calibrator: the new one; the present one, as a ScopedCalibrator, where no scope is healed.
        scopes: what was found in each.
    """

    calibrator: ScopedCalibrator
    scopes: dict[ScopeName, ScopeHealing]

    @property
    def refusal(self) -> str | None:
        """Why there is no new calibrator, as a sentence without a full stop; None where a scope is healed."""
        if any(scope.objection is None for scope in self.scopes.values()):
            return None
        return "; ".join(f"{name}: {scope.objection}" for name, scope in self.scopes.items())


def heal(present: Calibrator, events: Mapping[ScopeName, CurveEvents]) -> Healing:
    """Fit the temperature of each scope, and DAC's strength, and keep what is better beyond noise.

    The predictions of a scope are put in order of time. The first 70 % are fitted to and the rest, all of them later, are
    judged on: what is to be good tomorrow must be found with what was known yesterday. A scope is healed where

    - it has at least LEAST_FITTED and LEAST_JUDGED predictions before and after the cut,
    - the fit is inside TEMPERATURE_RANGE,
    - on the later predictions the mean NLL falls by more than STANDARD_ERRORS standard errors of the paired difference, and
    - ECE there does not rise by more than the noise floor.

    Otherwise it keeps what it has, whatever the other scope does.

    Args:
        present: the calibrator that is to be improved.
        events: of each scope, in any order; under this calibrator or others of the same prompt: curves are of raw logits.
    """
    scoped = as_scoped(present)
    by_scope: dict[ScopeName, ScopeHealing] = {
        "base": _heal_scope(Recalibration(scoped.base, scoped.strength), events["base"], free_strength=False),
        "new": _heal_scope(Recalibration(scoped.new, scoped.strength), events["new"], free_strength=True),
    }
    base, new = by_scope["base"].chosen, by_scope["new"].chosen
    changes = {"base": base.temperature, "new": new.temperature, "strength": new.strength}
    return Healing(scoped.model_copy(update=changes), by_scope)


def as_scoped(calibrator: Calibrator) -> ScopedCalibrator:
    """A calibrator that does the same."""
    match calibrator:
        case ScopedCalibrator():
            return calibrator
        case TemperatureCalibrator(temperature=t):
            return ScopedCalibrator(base=t, new=t)
        case DistanceAwareCalibrator(temperature=t, nearest=k, near=near):
            return ScopedCalibrator(base=t, new=t, strength=1.0, nearest=k, near=near)


def in_time_order(events: CurveEvents) -> tuple[CurveEvents, CurveEvents]:
    """The first 70 % by time, and those that are later than all of these."""
    if not len(events):
        return events, events
    ordered = events.of(np.argsort(events.time, kind="stable"))
    cut = ordered.time[math.ceil(FIT_SHARE * len(ordered)) - 1]
    return ordered.of(ordered.time <= cut), ordered.of(ordered.time > cut)


def _heal_scope(present: Recalibration, events: CurveEvents, free_strength: bool) -> ScopeHealing:
    earlier, later = in_time_order(events)
    before = Judgement.of(present, later)
    found, after = present, before
    objection = _too_few(len(earlier), len(later))
    if objection is None:
        found = fit_curves(earlier, present, free_strength)
        after = Judgement.of(found, later)
        objection = _no_gain(found, before, after)
    since, cut, until = (
        float(times[place]) if len(times) else math.nan
        for times, place in ((earlier.time, 0), (earlier.time, -1), (later.time if len(later) else earlier.time, -1))
    )
    return ScopeHealing(len(earlier), len(later), since, cut, until, present, found, before, after, objection)


def _too_few(fitted: int, judged: int) -> str | None:
    if fitted >= LEAST_FITTED and judged >= LEAST_JUDGED:
        return None
    return (
        f"{fitted} labelled predictions to fit to and {judged} later ones to judge on, "
        f"at least {LEAST_FITTED} and {LEAST_JUDGED} are needed"
    )


def _no_gain(found: Recalibration, before: Judgement, after: Judgement) -> str | None:
    if not is_inside(found.temperature):
        low, high = TEMPERATURE_RANGE
        end = f"{found.temperature:.3g} is an end of its range {low:g}..{high:g}"
        return f"the predictions do not decide a temperature: {end}"
    gain, error = _paired(before, after)
    if not gain > STANDARD_ERRORS * error:
        return (
            f"no gain beyond noise: on the {len(after.correct)} later predictions NLL would fall by {gain:.4f}, "
            f"and {STANDARD_ERRORS:g} standard errors of that are {STANDARD_ERRORS * error:.4f}"
        )
    was, now = before.figures(), after.figures()
    if now["ece"] > was["ece"] + now["ece_noise_floor"]:
        rise = f"{was['ece']:.2%} to {now['ece']:.2%}"
        return f"ECE would rise, {rise}, by more than the noise floor {now['ece_noise_floor']:.2%}"
    return None


def _paired(before: Judgement, after: Judgement) -> tuple[float, float]:
    fall = before.losses - after.losses
    if len(fall) < 2:
        return math.nan, math.nan
    return float(fall.mean()), float(fall.std(ddof=1) / math.sqrt(len(fall)))
