"""Calibrators against numbers worked by hand, a float64 loop and scipy's optimum; none changes a prediction."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from candor.calibration import (
    TEMPERATURE_RANGE,
    Calibrator,
    DistanceAwareCalibrator,
    LabelGeometry,
    ScopedCalibrator,
    TemperatureCalibrator,
    calibrated,
    distance_factor,
    fit_temperature,
)
from candor.errors import InvalidInput

STORED: TypeAdapter[Calibrator] = TypeAdapter(Calibrator)


def unit(*shape: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


def geometry(labels: int = 7, base: int = 9, width: int = 16) -> LabelGeometry:
    """Labels of which the first is a base label, tuned features some way from the zero-shot ones."""
    zs, base_zs = unit(labels, width), unit(base, width)
    zs[0] = base_zs[2]
    move = 0.8 * torch.randn(labels, width)
    base_ft = torch.nn.functional.normalize(base_zs + 0.3 * torch.randn(base, width), dim=-1)
    ft = torch.nn.functional.normalize(zs + move, dim=-1)
    ft[0] = base_ft[2]
    return LabelGeometry(ft, zs, base_ft, base_zs, torch.arange(labels) == 0)


def new(labels: int) -> torch.Tensor:
    return torch.zeros(labels, dtype=torch.bool)


def test_temperature_by_hand() -> None:
    logits = torch.tensor([0.0, 2 * math.log(3)])
    calibrate = TemperatureCalibrator(temperature=2.0).for_labels(geometry(2))
    assert calibrate(logits).tolist() == pytest.approx([0.25, 0.75])
    assert calibrate(logits).dtype == torch.float32
    assert calibrate(logits.double()).dtype == torch.float64


def test_scopes_by_hand() -> None:
    base = torch.tensor([[1.0, 0.0]])
    tuned, zero_shot = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    g = LabelGeometry(tuned, zero_shot, base, base, torch.tensor([True, False]))
    gamma = math.exp(math.sqrt(0.8) - 2)  # of the new label, tuned 2 and zero-shot sqrt(0.16 + 0.64) away
    for strength in (0.0, 0.5, 1.0):
        calibrator = ScopedCalibrator(base=2.0, new=4.0, strength=strength)
        assert calibrator.multiplier(g).tolist() == pytest.approx([1 / 2, gamma**strength / 4])
        p = calibrator.for_labels(g)(torch.tensor([[3.0, 1.0], [1.0, 3.0]]))
        assert p[0, 0].item() == pytest.approx(1 / (1 + math.exp(-2 / 2)))
        assert p[1, 1].item() == pytest.approx(1 / (1 + math.exp(-2 * gamma**strength / 4)))
    apart = LabelGeometry(tuned, zero_shot, -base, base, torch.tensor([True, False]))  # tuned 2 from itself, as it were
    moved = ScopedCalibrator(base=2.0, new=4.0, strength=1.0, near=0.0).multiplier(apart)
    assert moved.tolist() == pytest.approx([1 / 2, math.exp(math.sqrt(0.8)) / 4])
    nothing = torch.empty(0, 0)
    plain = LabelGeometry(tuned, zero_shot, nothing, nothing, torch.tensor([True, False]))
    assert ScopedCalibrator(base=2.0, new=4.0).multiplier(plain).tolist() == [0.5, 0.25]  # needs no base features


def test_a_scope_is_a_matter_of_the_name_not_of_the_distance() -> None:
    g = geometry()
    twin = LabelGeometry(*(getattr(g, name) for name in list(vars(g))[:4]), new(7))  # label 0 lies on a base label
    assert ScopedCalibrator(base=2.0, new=4.0).multiplier(twin).tolist() == [0.25] * 7
    assert ScopedCalibrator(base=2.0, new=4.0).multiplier(g).tolist() == [0.5] + [0.25] * 6


def test_one_temperature_and_distances_are_cases_of_it() -> None:
    g, logits = geometry(), 10 * torch.randn(30, 7, dtype=torch.float64)
    for strength, same in ((0.0, TemperatureCalibrator(temperature=1.3)), (1.0, DistanceAwareCalibrator(temperature=1.3))):
        scoped = ScopedCalibrator(base=1.3, new=1.3, strength=strength)
        torch.testing.assert_close(scoped.for_labels(g)(logits), same.for_labels(g)(logits), rtol=1e-12, atol=0)


def dac_loop(g: LabelGeometry, nearest: int, near: float) -> list[float]:
    """gamma as the authors' code has it, one distance at a time in float64."""
    gammas = []
    for i in range(len(g.text_features)):
        ft = sorted(math.dist(g.text_features[i].tolist(), b.tolist()) for b in g.base_text_features)
        zs = sorted(math.dist(g.zero_shot_text_features[i].tolist(), b.tolist()) for b in g.base_zero_shot_text_features)
        d_ft, d_zs = sum(ft[:nearest]) / len(ft[:nearest]), sum(zs[:nearest]) / len(zs[:nearest])
        gammas.append(1.0 if ft[0] < near else math.exp(-d_ft) / math.exp(-d_zs))
    return gammas


def test_gamma_by_hand() -> None:
    base = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    tuned, zero_shot = torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    g = LabelGeometry(tuned, zero_shot, base, base, torch.tensor([False, True]))
    # label 0: tuned 2 and sqrt 2 away, zero-shot sqrt(0.16 + 0.64) and sqrt(0.36 + 0.04); label 1 is a base label
    expected = math.exp((math.sqrt(0.8) + math.sqrt(0.4)) / 2 - (2 + math.sqrt(2)) / 2)
    assert distance_factor(g).tolist() == pytest.approx([expected, 1.0])
    expected = math.exp(math.sqrt(0.4) - math.sqrt(2))
    assert distance_factor(g, nearest=1).tolist() == pytest.approx([expected, 1.0])
    p = DistanceAwareCalibrator(nearest=1).for_labels(g)(torch.tensor([[3.0, 1.0], [1.0, 3.0]]))
    sure = 1 / (1 + math.exp(-2 * expected))  # label 0 is predicted first: both of its logits take label 0's factor
    assert p[0].tolist() == pytest.approx([sure, 1 - sure])
    assert p[1, 1].item() == pytest.approx(1 / (1 + math.exp(-2)))


@pytest.mark.parametrize("nearest", [1, 5, 50])
def test_dac_equals_a_float64_loop(nearest: int) -> None:
    g = geometry()
    calibrator = DistanceAwareCalibrator(nearest=nearest, temperature=1.3)
    assert torch.equal(calibrator.gamma(g), distance_factor(g, nearest))
    assert torch.equal(TemperatureCalibrator(temperature=2).gamma(g), distance_factor(g))  # as receipts keep it
    gammas = dac_loop(g, nearest, 0.05)
    assert distance_factor(g, nearest).tolist() == pytest.approx(gammas, rel=1e-9)
    assert calibrator.multiplier(g).tolist() == pytest.approx([gamma / 1.3 for gamma in gammas], rel=1e-9)
    assert gammas[0] == 1
    assert min(gammas) < 0.99
    logits = 10 * torch.randn(40, 7)
    for row, p in zip(logits.double().tolist(), calibrator.for_labels(g)(logits.double()).tolist(), strict=True):
        factor = gammas[row.index(max(row))]
        powers = [math.exp(factor * z / 1.3) for z in row]
        assert p == pytest.approx([e / sum(powers) for e in powers], rel=1e-9)


def test_gamma_is_not_clipped() -> None:
    base, middle = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    nearer = LabelGeometry(middle, -base, base, base, new(1))  # tuning brought the label nearer to the base label
    assert distance_factor(nearer).item() == pytest.approx(math.exp(2 - math.sqrt(0.8)))


def test_a_label_beside_a_base_label_counts_as_one() -> None:
    base = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for distance, is_base in ((0.0499, True), (0.0501, False)):
        angle = 2 * math.asin(distance / 2)
        close = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
        gamma = distance_factor(LabelGeometry(close, -base, base, base, new(1))).item()
        assert gamma == pytest.approx(1.0 if is_base else math.exp(2 - distance))


def test_base_labels_keep_the_models_own_confidence() -> None:
    base, base_zs = unit(6, 8), unit(6, 8)
    g = LabelGeometry(base + 1e-6 * torch.randn(6, 8), base_zs, base, base_zs, ~new(6))  # encoded in another batch
    logits = torch.randn(10, 6)
    assert distance_factor(g).tolist() == [1.0] * 6
    assert torch.equal(DistanceAwareCalibrator().for_labels(g)(logits), TemperatureCalibrator().for_labels(g)(logits))


logit_rows = st.lists(
    st.lists(st.floats(-120, 120, width=32), min_size=7, max_size=7).map(sorted), min_size=1, max_size=8
).flatmap(lambda rows: st.tuples(*(st.permutations(row) for row in rows)))


@settings(max_examples=300)
@given(logit_rows, st.floats(1e-3, 1e3), st.sampled_from([torch.float32, torch.float64]))
def test_no_calibrator_changes_a_prediction(rows: tuple[list[float], ...], temperature: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    logits, g = torch.tensor(rows, dtype=dtype), geometry()
    for calibrator in (
        TemperatureCalibrator(temperature=temperature),
        DistanceAwareCalibrator(temperature=temperature),
        ScopedCalibrator(base=temperature, new=1 / temperature, strength=0.7),
    ):
        p = calibrator.for_labels(g)(logits)
        assert torch.equal(p.argmax(dim=-1), logits.argmax(dim=-1))
        assert torch.allclose(p.sum(dim=-1), torch.ones(len(rows), dtype=dtype), atol=1e-5)
        assert ((p >= 0) & (p <= 1)).all()


def test_a_prediction_survives_where_rounding_would_make_it_a_tie() -> None:
    logits = torch.tensor([[1.0, 1.0000001, 0.0]])
    assert (logits / 1000).softmax(dim=-1).argmax() == 0  # what plain float32 would answer
    assert calibrated(logits, torch.full((3,), 1e-3, dtype=torch.float64)).argmax() == 1


def test_probabilities_of_one_image_and_of_many() -> None:
    g, logits = geometry(), torch.randn(2, 3, 7)
    together = DistanceAwareCalibrator().for_labels(g)(logits)
    assert together.shape == (2, 3, 7)
    for i in range(2):
        for j in range(3):
            assert torch.allclose(DistanceAwareCalibrator().for_labels(g)(logits[i, j]), together[i, j])


def test_a_calibrator_of_other_labels_is_refused() -> None:
    for calibrator in (TemperatureCalibrator(), DistanceAwareCalibrator(), ScopedCalibrator()):
        calibrate = calibrator.for_labels(geometry(7))
        with pytest.raises(InvalidInput, match="logits over 5 labels, but the calibrator was made for 7"):
            calibrate(torch.randn(2, 5))
    none = torch.empty(0, 0)
    with pytest.raises(InvalidInput, match="needs the base labels"):
        DistanceAwareCalibrator().for_labels(LabelGeometry(unit(2, 4), unit(2, 4), none, none, new(2)))
    with pytest.raises(InvalidInput, match="differ in number"):
        DistanceAwareCalibrator().for_labels(LabelGeometry(unit(2, 4), unit(3, 4), unit(2, 4), unit(2, 4), new(2)))


@pytest.mark.parametrize(
    "calibrator",
    [
        TemperatureCalibrator(temperature=1.25),
        DistanceAwareCalibrator(nearest=3, near=0.1, temperature=0.5),
        ScopedCalibrator(base=0.9, new=2.5, strength=0.25, nearest=3, near=0.1),
    ],
)
def test_a_stored_calibrator_comes_back(calibrator: Calibrator) -> None:
    assert STORED.validate_json(STORED.dump_json(calibrator)) == calibrator


@pytest.mark.parametrize(
    "document",
    [
        '{"kind": "magic"}',
        '{"temperature": 1}',
        '{"kind": "temperature", "temperature": 0}',
        '{"kind": "temperature", "nearest": 5}',
        '{"kind": "dac", "nearest": 0}',
        '{"kind": "dac", "near": -1}',
        '{"kind": "dac", "temperature": "inf"}',
        '{"kind": "scoped", "base": 0}',
        '{"kind": "scoped", "strength": -0.1}',
        '{"kind": "scoped", "temperature": 1}',
    ],
)
def test_a_damaged_calibrator_is_refused(document: str) -> None:
    with pytest.raises(ValidationError):
        STORED.validate_json(document)


def labelled(seed: int, n: int, c: int, true_temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that a temperature makes right: labels drawn from softmax(logits / T)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, c)) * 4
    p = np.exp(logits / true_temperature - logsumexp(logits / true_temperature, axis=1, keepdims=True))
    labels = np.array([rng.choice(c, p=row / row.sum()) for row in p])
    return torch.tensor(logits), torch.tensor(labels)


@pytest.mark.parametrize("seed", range(12))
def test_the_temperature_is_scipys_optimum(seed: int) -> None:
    true_temperature = [0.4, 1.0, 2.5, 6.0][seed % 4]
    logits, labels = labelled(seed, 200, 2 + seed, true_temperature)
    z, y = logits.numpy(), labels.numpy()

    def loss(log_t: float) -> float:
        s = z / math.exp(log_t)
        return float((logsumexp(s, axis=1) - s[np.arange(len(y)), y]).mean())

    best = minimize_scalar(
        loss, bounds=[math.log(t) for t in TEMPERATURE_RANGE], method="bounded", options={"xatol": 1e-10}
    )
    fitted = fit_temperature(logits, labels)
    assert fitted == pytest.approx(math.exp(best.x), rel=1e-5)
    assert loss(math.log(fitted)) <= best.fun + 1e-12
    assert true_temperature / 1.6 < fitted < true_temperature * 1.6
    assert fit_temperature(logits.float(), labels) == pytest.approx(fitted, rel=1e-5)


def test_a_known_optimum() -> None:
    # logit difference 2, right three times in four: sigmoid(2 / T) = 3/4, so T = 2 / ln 3
    logits, labels = torch.tensor([[2.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])
    assert fit_temperature(logits, labels) == pytest.approx(2 / math.log(3), rel=1e-6)


def test_twice_the_logits_is_twice_the_temperature() -> None:
    logits, labels = labelled(3, 100, 5, 1.0)
    assert fit_temperature(2 * logits, labels) == pytest.approx(2 * fit_temperature(logits, labels), rel=1e-6)
    shifted = logits + torch.randn(100, 1, dtype=torch.float64)
    assert fit_temperature(shifted, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-6)


def test_what_no_finite_temperature_fits_best_ends_at_the_range() -> None:
    low, high = TEMPERATURE_RANGE
    logits = torch.tensor([[5.0, 0.0, 1.0], [0.0, 3.0, 1.0]])
    assert fit_temperature(logits, torch.tensor([0, 1])) == low  # all right
    assert fit_temperature(logits, torch.tensor([1, 0])) == high  # all wrong
    assert fit_temperature(1e-3 * logits, torch.tensor([0, 2])) == pytest.approx(low)  # best far below the range
    assert fit_temperature(1e4 * logits, torch.tensor([0, 2])) == pytest.approx(high)  # best far above it
    assert fit_temperature(torch.ones(3, 4), torch.tensor([0, 1, 2])) == 1.0  # no temperature changes anything


def test_fitting_inside_inference_mode() -> None:
    logits, labels = labelled(1, 50, 4, 2.0)
    expected = fit_temperature(logits, labels)
    with torch.inference_mode():
        assert fit_temperature(logits * 1.0, labels) == expected


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), "at least one image and two labels, got 0 and 3"),
        (torch.zeros(2, 1), torch.zeros(2, dtype=torch.long), "got 2 and 1"),
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.long), r"got \(2, 3\) and \(3,\)"),
        (torch.zeros(3), torch.zeros(3, dtype=torch.long), r"got \(3,\)"),
        (torch.tensor([[0.0, math.nan]]), torch.tensor([0]), "finite logits"),
        (torch.zeros(1, 3), torch.tensor([3]), r"0\.\.2, got torch.int64 3\.\.3"),
        (torch.zeros(1, 3), torch.tensor([-1]), "label must be"),
        (torch.zeros(1, 3), torch.tensor([0.0]), "label must be an integer"),
    ],
)
def test_impossible_fits_are_refused(logits: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        fit_temperature(logits, labels)
