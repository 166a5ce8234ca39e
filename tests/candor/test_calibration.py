"""Scores against numbers worked by hand and against slow, obvious loops."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.classification import BinaryCalibrationError, MulticlassCalibrationError

from candor.calibration import (
    ReliabilityBins,
    accuracy,
    ece,
    feature_divergence,
    gap,
    mce,
    mce_weighted,
    mean_confidence,
    noise_floor,
    text_deviation,
)
from candor.errors import InvalidInput

SCORES = (accuracy, mean_confidence, gap, ece, mce, mce_weighted, noise_floor)
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
    assert mce(bins) == pytest.approx(abs(1 / 2 - (0.95 + 1.0) / 2))  # of 0.3, 0.255 and 0.475
    assert mce_weighted(bins) == pytest.approx(2 / 5 * 0.475)  # of 0.06, 0.102 and 0.19


def test_the_two_mce_disagree_about_a_bin_that_is_almost_empty() -> None:
    pairs = [(0.05, True)] + [(0.9, True)] * 7 + [(0.9, False)] * 2
    bins = bins_of(pairs)
    assert mce(bins) == pytest.approx(0.95)  # one prediction of ten
    assert mce_weighted(bins) == pytest.approx(9 / 10 * (0.9 - 7 / 9))
    assert ece(bins) == pytest.approx(1 / 10 * 0.95 + 9 / 10 * (0.9 - 7 / 9))


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


@given(predictions, predictions, st.integers(1, 20))
def test_every_score_of_merged_bins_is_that_of_pooled_samples(
    a: list[tuple[float, bool]], b: list[tuple[float, bool]], n_bins: int
) -> None:
    merged, pooled = bins_of(a, n_bins) + bins_of(b, n_bins), bins_of(a + b, n_bins)
    for score in SCORES:
        assert score(merged) == pytest.approx(score(pooled), abs=1e-7, nan_ok=True), score.__name__  # a root in the floor


@given(predictions.filter(bool), st.integers(1, 20), st.randoms(use_true_random=False))
def test_scores_are_bounded_ordered_and_blind_to_order(
    pairs: list[tuple[float, bool]], n_bins: int, rng: random.Random
) -> None:
    bins = bins_of(pairs, n_bins)
    values = {score.__name__: score(bins) for score in SCORES}
    assert all(-1e-9 <= v <= 1 + 1e-9 for name, v in values.items() if name != "gap")
    assert abs(values["gap"]) <= values["ece"] + 1e-9
    assert values["mce_weighted"] - 1e-9 <= values["ece"] <= values["mce"] + 1e-9
    shuffled = rng.sample(pairs, len(pairs))
    for score in SCORES:
        assert score(bins_of(shuffled, n_bins)) == pytest.approx(values[score.__name__], abs=1e-7)


@pytest.mark.parametrize("n_bins", [10, 15, 20])
def test_ece_and_mce_are_those_of_torchmetrics(n_bins: int) -> None:
    """Away from confidence 1.0, which torchmetrics counts in a bin of its own, and from the edges (it is float32)."""
    rng = np.random.default_rng(n_bins)
    confidence = rng.uniform(0.05, 0.999, 4000).astype(np.float32)
    confidence = confidence[np.abs(confidence * n_bins - np.round(confidence * n_bins)) > 1e-3]
    correct = rng.random(len(confidence)) < confidence**2
    bins = ReliabilityBins.of(confidence, correct, n_bins)
    scores = torch.tensor(np.stack([confidence, 1 - confidence], axis=1))  # two labels: the first has the confidence ...
    binary = confidence > 0.5  # ... and is predicted where that is above 1/2
    target = torch.tensor(np.where(correct, 0, 1))
    for norm, ours in (("l1", ece), ("max", mce)):
        metric = MulticlassCalibrationError(num_classes=2, n_bins=n_bins, norm=norm)
        sure = ReliabilityBins.of(confidence[binary], correct[binary], n_bins)
        assert ours(sure) == pytest.approx(float(metric(scores[binary], target[binary])), abs=1e-5)
    theirs = BinaryCalibrationError(n_bins=n_bins, norm="l1")(scores[:, 0], torch.tensor(correct).long())
    assert ece(bins) == pytest.approx(float(theirs), abs=1e-5)


def test_nothing_has_no_score() -> None:
    assert all(math.isnan(score(bins_of([]))) for score in SCORES)


@pytest.mark.parametrize(
    ("confidence", "correct"),
    [([1.1], [1]), ([float("nan")], [1]), ([-0.1], [0]), ([0.5], [1, 0]), ([0.5], [float("nan")]), ([0.5], [2])],
)
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
