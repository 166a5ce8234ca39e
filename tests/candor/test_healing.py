"""Healing against simulated deployments whose best calibrator is known, in float64 and without curves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from candor.calibration import DistanceAwareCalibrator, ScopedCalibrator, TemperatureCalibrator
from candor.calibration.confidence_curve import confidence_curve
from candor.calibration.curve_fitting import SUREST, CurveEvents, Recalibration, binary_nll, fit_curves
from candor.calibration.healing import Judgement, as_scoped, heal, in_time_order

Floats = NDArray[np.float64]
OWN = TemperatureCalibrator()


def logits_of(rng: np.random.Generator, n: int, labels: int = 12) -> Floats:
    return rng.normal(size=(n, labels)) * rng.uniform(1, 5, size=(n, 1))


def right(rng: np.random.Generator, logits: Floats, multiplier: Floats | float) -> NDArray[np.bool_]:
    """Whether the most probable label is the true one, drawn from softmax(multiplier * logits)."""
    p = softmax(logits * np.reshape(multiplier, (-1, 1)), axis=1)
    drawn = (p.cumsum(axis=1) > rng.uniform(size=(len(p), 1))).argmax(axis=1)
    return np.asarray(drawn == logits.argmax(axis=1))


def events(
    seed: int, n: int, temperature: Floats | float, strength: float = 0.0, spread: float = 0.0, half: bool = False
) -> CurveEvents:
    """`n` predictions of a model that gamma^strength / temperature makes right, one a second; gamma up to e^-spread."""
    rng = np.random.default_rng(seed)
    logits, gamma = logits_of(rng, n), np.exp(-rng.uniform(0, spread, n))
    correct = right(rng, logits, gamma**strength / temperature)
    curve = confidence_curve(torch.tensor(logits)).numpy()
    kept = curve.astype(np.float16) if half else curve
    return CurveEvents(np.arange(n, dtype=float), gamma, kept.astype(float), correct)


NOTHING = events(0, 0, 1.0)


@pytest.mark.parametrize(("base", "new", "half"), [(1.0, 2.5, True), (0.6, 1.7, False), (3.0, 0.8, True)])
def test_the_temperature_of_each_scope_is_found(base: float, new: float, half: bool) -> None:
    found = heal(OWN, {"base": events(1, 10_000, base, half=half), "new": events(2, 10_000, new, half=half)})
    assert found.calibrator.base == pytest.approx(base, rel=0.05)
    assert found.calibrator.new == pytest.approx(new, rel=0.05)
    assert found.calibrator.strength == 0
    assert (found.scopes["base"].objection is None) == (base != 1)  # which is right as it is
    assert found.scopes["new"].objection is None
    assert found.refusal is None


def test_the_fit_is_scipys_optimum_on_the_logits_themselves() -> None:
    rng = np.random.default_rng(3)
    logits = logits_of(rng, 3_000)
    correct = right(rng, logits, 1 / 1.9)

    def loss(log_t: float) -> float:
        log_p = log_softmax(logits / math.exp(log_t), axis=1).max(axis=1)
        return -float(np.where(correct, log_p, np.log1p(-np.minimum(np.exp(log_p), SUREST))).mean())

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10})
    curve = confidence_curve(torch.tensor(logits)).double().numpy()
    kept = CurveEvents(np.arange(3_000.0), np.ones(3_000), curve, correct)
    fitted = fit_curves(kept, Recalibration(1.0), free_strength=False)
    assert fitted.temperature == pytest.approx(math.exp(best.x), rel=1e-3)
    for temperature in (0.3, 1.0, 1.9, 6.0):
        exact = loss(math.log(temperature))
        assert Recalibration(temperature).losses(kept).mean() == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize(("temperature", "strength"), [(1.0, 1.0), (1.5, 1.0), (2.0, 0.5)])
def test_the_strength_of_the_distance_factor_is_found(temperature: float, strength: float) -> None:
    found = heal(OWN, {"base": NOTHING, "new": events(4, 30_000, temperature, strength, spread=2.0)}).calibrator
    assert found.strength == pytest.approx(strength, abs=0.08)
    assert found.new == pytest.approx(temperature, rel=0.05)
    assert found.base == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_a_strength_that_explains_nothing_stays_as_it_is(seed: int) -> None:
    spread = heal(OWN, {"base": NOTHING, "new": events(seed, 5_000, 2.0, strength=0.0, spread=2.0)})
    alike = heal(OWN, {"base": NOTHING, "new": events(seed, 5_000, 2.0)})
    for found in (spread, alike):
        assert (found.calibrator.strength, found.refusal) == (0.0, None)
    dac = heal(DistanceAwareCalibrator(), {"base": NOTHING, "new": events(seed, 5_000, 2.0, strength=1.0, spread=2.0)})
    assert dac.calibrator.strength == 1.0
    assert dac.calibrator.new == pytest.approx(2.0, rel=0.1)


def test_what_is_right_already_is_refused() -> None:
    refused = 0
    for seed in range(10):
        found = heal(OWN, {"base": events(seed, 1_000, 1.0), "new": events(100 + seed, 1_000, 1.0)})
        if found.refusal:
            refused += 1
            assert found.calibrator == ScopedCalibrator()
            assert "no gain beyond noise" in found.refusal
    assert refused >= 9  # of 20 looks at a gain that is noise, one in forty is above two standard errors


def test_too_little_is_refused_and_the_other_scope_healed() -> None:
    found = heal(TemperatureCalibrator(temperature=1.2), {"base": events(1, 285, 3.0), "new": events(2, 2_000, 3.0)})
    base, new = found.scopes["base"], found.scopes["new"]
    expected = "200 labelled predictions to fit to and 85 later ones to judge on, at least 200 and 100 are needed"
    assert base.objection == expected
    assert (base.fitted, base.judged, base.found) == (200, 85, Recalibration(1.2))
    assert (new.fitted, new.judged, new.since, new.cut, new.until) == (1_400, 600, 0.0, 1_399.0, 1_999.0)
    assert (found.calibrator.base, found.refusal) == (1.2, None)
    assert found.calibrator.new == pytest.approx(3.0, rel=0.1)
    nothing = heal(OWN, {"base": NOTHING, "new": NOTHING})
    assert str(nothing.refusal).startswith("base: 0 labelled predictions to fit to and 0 later ones")
    assert all(math.isnan(value) for value in nothing.scopes["new"].before.figures().values())


def test_feedback_that_leaves_the_temperature_open_is_refused() -> None:
    sure = events(5, 1_000, 1.0)
    for correct, end in ((np.ones(1_000, bool), "0.05"), (np.zeros(1_000, bool), "20")):
        case = CurveEvents(sure.time, sure.gamma, sure.curve, correct)
        refusal = heal(OWN, {"base": NOTHING, "new": case}).refusal
        assert f"do not decide a temperature: {end} is an end of its range 0.05..20" in str(refusal)


def test_the_later_predictions_judge() -> None:
    """The model was too sure and is right again: the past speaks for a change, the present against it."""
    n = 3_000
    recovered = events(6, n, np.where(np.arange(n) < 0.7 * n, 3.0, 1.0))
    shuffled = CurveEvents(
        np.random.default_rng(0).permutation(n).astype(float), recovered.gamma, recovered.curve, recovered.correct
    )
    assert heal(OWN, {"base": NOTHING, "new": shuffled}).refusal is None
    found = heal(OWN, {"base": NOTHING, "new": recovered})
    assert "NLL would fall by -" in str(found.refusal)
    assert found.scopes["new"].found.temperature == pytest.approx(3.0, rel=0.1)
    assert found.calibrator == ScopedCalibrator()


def two_labels(confidence: float, n: int) -> Floats:
    """Curves of predictions among two labels, whose own confidence is given."""
    logits = torch.tensor([[math.log(confidence / (1 - confidence)), 0.0]]).expand(n, 2)
    return confidence_curve(logits).double().numpy()


def test_a_gain_that_costs_calibration_is_refused() -> None:
    """Two kinds of label, all at confidence 0.8: right 95 and 65 times of 100 at first, and 90 and 70 times later.

    To tell them apart is a gain even later: at 0.8 NLL is 0.500, at 0.95 and 0.65 it is 0.481. But ECE was 0, and is 0.05.
    """
    n = 20_000
    far = np.arange(n) % 2 == 1
    place = (np.arange(n) // 2) % 100
    early = np.arange(n) < 0.7 * n
    correct = place < np.where(far, np.where(early, 65, 70), np.where(early, 95, 90))
    gamma = np.where(far, 0.21, 1.0)
    case = CurveEvents(np.arange(float(n)), gamma, two_labels(0.8, n), correct)
    found = heal(OWN, {"base": NOTHING, "new": case}).scopes["new"]
    assert found.before.figures()["nll"] == pytest.approx(0.500, abs=1e-3)
    assert found.after.figures()["nll"] == pytest.approx(0.481, abs=1e-3)
    assert found.gain[0] > 2 * found.gain[1]
    assert str(found.objection).startswith("ECE would rise, 0.00% to 5.0")
    assert found.chosen == Recalibration(1.0)


def test_the_cut_is_a_moment() -> None:
    some = events(7, 100, 1.0)
    order = np.random.default_rng(1).permutation(100)
    moments = CurveEvents(np.floor(np.arange(100) / 30)[order], some.gamma, some.curve, some.correct)
    earlier, later = in_time_order(moments)
    assert (len(earlier), len(later)) == (90, 10)  # the 70th lies in the third moment, which is not torn apart
    assert earlier.time.max() < later.time.min()
    assert sorted(np.concatenate([earlier.curve[:, 0], later.curve[:, 0]])) == sorted(some.curve[:, 0])


def test_the_log_score_by_hand() -> None:
    losses = binary_nll(np.array([0.8, 0.8, 1.0, 1.0]), np.array([True, False, True, False]))
    assert losses.tolist() == pytest.approx([-math.log(0.8), -math.log(0.2), 0.0, 25 * math.log(2)], abs=1e-7)
    assert losses[3] == pytest.approx(-math.log(1 - SUREST))


def test_the_figures_by_hand() -> None:
    judged = Judgement(np.array([0.8, 0.8, 0.3]), np.array([True, False, True]), np.array([0.1, 0.2, 0.6]))
    found = judged.figures()
    floor = math.sqrt(2 / math.pi) * (math.sqrt(2 * 0.8 * 0.2) + math.sqrt(0.3 * 0.7)) / 3
    assert found == pytest.approx(
        {
            "accuracy": 2 / 3,
            "confidence": 1.9 / 3,
            "gap": -0.1 / 3,
            "ece": (0.6 + 0.7) / 3,
            "ece_noise_floor": floor,
            "brier": (0.04 + 0.64 + 0.49) / 3,
            "nll": 0.3,
        }
    )


def test_healing_brings_ece_to_the_noise() -> None:
    new = heal(OWN, {"base": NOTHING, "new": events(8, 10_000, 2.5)}).scopes["new"]
    before, after = new.before.figures(), new.after.figures()
    assert before["ece"] > 0.1
    assert after["ece"] < 2 * after["ece_noise_floor"]
    assert after["accuracy"] == before["accuracy"]
    assert after["nll"] < before["nll"]
    assert after["brier"] < before["brier"]
    gain, error = new.gain
    assert gain == pytest.approx(before["nll"] - after["nll"])
    assert gain > 2 * error > 0


def test_each_calibrator_is_a_scoped_one() -> None:
    assert as_scoped(TemperatureCalibrator(temperature=1.5)) == ScopedCalibrator(base=1.5, new=1.5)
    dac = DistanceAwareCalibrator(temperature=1.5, nearest=3, near=0.1)
    assert as_scoped(dac) == ScopedCalibrator(base=1.5, new=1.5, strength=1.0, nearest=3, near=0.1)
    scoped = ScopedCalibrator(base=1.5, new=2.5, strength=0.3)
    assert as_scoped(scoped) is scoped


def test_a_strength_at_an_end_of_the_temperatures_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    case, start = events(4, 3_000, 1.0, strength=1.0, spread=2.0), Recalibration(1.0)
    assert fit_curves(case, start, free_strength=True).strength == pytest.approx(1.0, abs=0.3)
    monkeypatch.setattr("candor.calibration.curve_fitting.TEMPERATURE_RANGE", (1.2, 20.0))  # its best is an end now
    assert fit_curves(case, start, free_strength=True).strength == 0.0
