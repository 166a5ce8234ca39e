"""Scores against numbers worked by hand and against slow, obvious loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from candor.calibration import (
    ReliabilityBins,
    TemperatureCalibrator,
    accuracy,
    ece,
    feature_divergence,
    gap,
    mean_confidence,
    noise_floor,
    text_deviation,
)
from candor.errors import InvalidInput

predictions = st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60)


def bins_of(pairs: list[tuple[float, bool]], n_bins: int = 10) -> ReliabilityBins:
    return ReliabilityBins.of([c for c, _ in pairs], [k for _, k in pairs], n_bins)


def test_ece_by_hand() -> None:
    pairs = [(0.7, True), (0.76, False), (0.75, True), (0.95, True), (1.0, False)]
    # (0.6, 0.7]: 0.7; (0.7, 0.8]: 0.76, 0.75; (0.9, 1.0]: 0.95, 1.0
    expected = 1 / 5 * abs(1 - 0.7) + 2 / 5 * abs(1 / 2 - (0.76 + 0.75) / 2) + 2 / 5 * abs(1 / 2 - (0.95 + 1.0) / 2)
    bins = bins_of(pairs)
    assert ece(bins) == pytest.approx(expected)
    assert accuracy(bins) == pytest.approx(3 / 5)
    assert mean_confidence(bins) == pytest.approx((0.7 + 0.76 + 0.75 + 0.95 + 1.0) / 5)
    assert gap(bins) == pytest.approx(mean_confidence(bins) - 3 / 5)


@pytest.mark.parametrize(("confidence", "expected"), [(0.0, 0), (0.1, 0), (0.7, 6), (0.3, 2), (0.30000001, 3), (1.0, 9)])
def test_right_edges_are_closed_and_both_ends_are_counted(confidence: float, expected: int) -> None:
    assert ReliabilityBins.of([confidence], [1]).count.tolist() == [float(b == expected) for b in range(10)]


def ece_loop(pairs: list[tuple[float, bool]], n_bins: int) -> float:
    total = 0.0
    for b in range(n_bins):
        inside = [(c, k) for c, k in pairs if (b / n_bins < c <= (b + 1) / n_bins) or (b == 0 and c == 0)]
        if inside:
            total += abs(math.fsum(k for _, k in inside) - math.fsum(c for c, _ in inside)) / len(pairs)
    return total


@given(predictions.filter(bool), st.integers(1, 20))
def test_ece_equals_the_definition(pairs: list[tuple[float, bool]], n_bins: int) -> None:
    assert ece(bins_of(pairs, n_bins)) == pytest.approx(ece_loop(pairs, n_bins), abs=1e-12)


@given(predictions, predictions)
def test_bins_add_up(a: list[tuple[float, bool]], b: list[tuple[float, bool]]) -> None:
    merged, whole = bins_of(a) + bins_of(b), bins_of(a + b)
    for name in ("count", "confidence", "correct"):
        np.testing.assert_allclose(getattr(merged, name), getattr(whole, name), atol=1e-12)
    assert whole.total == len(a) + len(b)


def test_nothing_has_no_score() -> None:
    assert all(math.isnan(score(bins_of([]))) for score in (ece, accuracy, mean_confidence, gap, noise_floor))


@pytest.mark.parametrize(("confidence", "correct"), [([1.1], [1]), ([float("nan")], [1]), ([-0.1], [0]), ([0.5], [1, 0])])
def test_bad_predictions_are_refused(confidence: list[float], correct: list[int]) -> None:
    with pytest.raises(InvalidInput):
        ReliabilityBins.of(confidence, correct)


def test_the_noise_floor_is_what_a_calibrated_model_shows() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1.0, 2000)
    seen = [ReliabilityBins.of(confidence, rng.random(2000) < confidence) for _ in range(300)]
    assert np.mean([ece(b) for b in seen]) == pytest.approx(noise_floor(seen[0]), rel=0.08)


def test_feature_divergence_by_hand_and_by_loop() -> None:
    square = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    assert feature_divergence(square, 2) == pytest.approx(math.sqrt(2))
    assert feature_divergence(square, 9) == pytest.approx((2 * math.sqrt(2) + 2) / 3)
    features = torch.nn.functional.normalize(torch.randn(12, 5), dim=-1)
    per_label = [
        sorted(math.dist(a.tolist(), b.tolist()) for j, b in enumerate(features) if j != i)[:5]
        for i, a in enumerate(features)
    ]
    assert feature_divergence(features) == pytest.approx(np.mean(per_label), rel=1e-5)
    assert math.isnan(feature_divergence(square[:1]))


def test_text_deviation_by_hand() -> None:
    a, b = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert text_deviation(a, b).tolist() == [0.0, 1.0]


def test_temperature_by_hand() -> None:
    p = TemperatureCalibrator(temperature=2.0).probabilities(torch.tensor([0.0, 2 * math.log(3)]))
    assert p.tolist() == pytest.approx([0.25, 0.75])
