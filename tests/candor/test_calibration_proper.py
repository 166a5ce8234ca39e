"""Class-wise ECE, Brier, NLL and the two means of base and new: by hand, by loops, and by their properties."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from candor.calibration import ReliabilityBins, brier, classwise_ece, ece, harmonic_mean, nll, plain_mean
from candor.errors import InvalidInput

P = [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]
Y = [0, 1]


def draw(seed: int, n: int, c: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(c, 0.3), n), rng.integers(0, c, n)


def test_by_hand() -> None:
    assert brier(P, Y) == pytest.approx((0.3**2 + 0.2**2 + 0.1**2 + 0.1**2 + 0.7**2 + 0.6**2) / 2)
    assert nll(P, Y) == pytest.approx(-(math.log(0.7) + math.log(0.3)) / 2)
    # two bins, [0, 0.5] and (0.5, 1]
    # class 0: {0.1: no}, {0.7: yes}; class 1: {0.2: no, 0.3: yes}; class 2: {0.1: no}, {0.6: no}
    expected = ((0.1 + 0.3) / 2 + abs(1 - 0.5) / 2 + (0.1 + 0.6) / 2) / 3
    assert classwise_ece(P, Y, 2) == pytest.approx(expected)


def test_the_best_and_the_worst() -> None:
    p = np.eye(3)
    assert (brier(p, [0, 1, 2]), nll(p, [0, 1, 2]), classwise_ece(p, [0, 1, 2])) == (0, 0, 0)
    assert (brier(p, [1, 2, 0]), nll(p, [1, 2, 0])) == (2, math.inf)
    assert classwise_ece(p, [1, 2, 0]) == pytest.approx(2 / 3)  # a class: of 3 images one 1 for 0, one 0 for 1


@pytest.mark.parametrize("seed", range(5))
def test_they_equal_the_definitions(seed: int) -> None:
    p, y = draw(seed, 50, 4)
    assert brier(p, y) == pytest.approx(sum((p[i, c] - (y[i] == c)) ** 2 for i in range(50) for c in range(4)) / 50)
    assert nll(p, y) == pytest.approx(sum(-math.log(p[i, y[i]]) for i in range(50)) / 50)
    per_class = [ece(ReliabilityBins.of(p[:, c], y == c, 15)) for c in range(4)]
    assert classwise_ece(p, y) == pytest.approx(sum(per_class) / 4)
    assert nll(p, y) == pytest.approx(float(torch.nn.functional.nll_loss(torch.tensor(p).log(), torch.tensor(y))))


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(2, 6), st.randoms(use_true_random=False))
def test_bounded_blind_to_order_and_means_over_images(seed: int, n: int, c: int, rng: random.Random) -> None:
    p, y = draw(seed, n, c)
    assert 0 <= classwise_ece(p, y) <= 1
    assert 0 <= brier(p, y) <= 2
    assert nll(p, y) >= 0
    images, classes = rng.sample(range(n), n), rng.sample(range(c), c)
    renamed = np.array([classes.index(label) for label in y[images]])
    for score in (brier, nll, classwise_ece):
        assert score(p[images][:, classes], renamed) == pytest.approx(score(p, y), abs=1e-9)
    half = n // 2
    if half:
        for score in (brier, nll):
            pooled = (half * score(p[:half], y[:half]) + (n - half) * score(p[half:], y[half:])) / n
            assert score(p, y) == pytest.approx(pooled, abs=1e-9)


def test_a_truthful_forecast_has_the_best_expected_score() -> None:
    truth = np.array([0.5, 0.3, 0.2])
    y = np.repeat([0, 1, 2], [50, 30, 20])
    for wrong in ([0.6, 0.2, 0.2], [0.4, 0.4, 0.2], [1 / 3, 1 / 3, 1 / 3]):
        for score in (brier, nll):
            assert score(np.tile(truth, (100, 1)), y) < score(np.tile(wrong, (100, 1)), y)
    assert classwise_ece(np.tile(truth, (100, 1)), y) == pytest.approx(0, abs=1e-12)


def test_float32_rounding_is_no_error() -> None:
    p = np.array([[1.0000001, 0.0], [0.5, 0.5]], np.float32)
    assert brier(p, [0, 1]) == pytest.approx(0.25)


@pytest.mark.parametrize("score", [brier, nll, classwise_ece])
def test_nothing_has_no_score_and_impossible_input_is_refused(score: object) -> None:
    assert callable(score)
    assert math.isnan(score(np.zeros((0, 3)), np.zeros(0, int)))
    assert math.isnan(score(np.zeros((0, 3)), []))
    for p, y in (
        ([[0.5, float("nan")]], [0]),
        ([[1.5, -0.5]], [0]),
        ([[0.5, 0.4]], [0]),
        ([[0.5, 0.5]], [2]),
        ([[0.5, 0.5]], [-1]),
        ([[0.5, 0.5]], [0, 1]),
        ([[0.5, 0.5]], [0.0]),
        ([0.5, 0.5], [0]),
    ):
        with pytest.raises(InvalidInput):
            score(p, y)


def test_a_number_of_bins_below_one_is_refused() -> None:
    with pytest.raises(InvalidInput, match="bins must be at least 1, got 0"):
        classwise_ece(P, Y, 0)


def test_the_two_means_by_hand() -> None:
    assert plain_mean(0.8, 0.6) == pytest.approx(0.7)
    assert harmonic_mean(0.8, 0.6) == pytest.approx(2 * 0.8 * 0.6 / 1.4)
    assert harmonic_mean(0.6, 0.6) == 0.6
    assert harmonic_mean(0.0, 0.6) == harmonic_mean(0.6, 0.0) == harmonic_mean(0.0, 0.0) == 0
    assert harmonic_mean(math.inf, 0.6) == pytest.approx(1.2)
    for mean in (plain_mean, harmonic_mean):
        assert math.isnan(mean(math.nan, 0.5))
        assert math.isnan(mean(0.5, math.nan))
    assert math.isnan(harmonic_mean(-0.1, 0.5))
    assert plain_mean(-0.1, 0.5) == pytest.approx(0.2)


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_harmonic_mean_is_between_the_smaller_and_the_plain_mean(a: float, b: float) -> None:
    h = harmonic_mean(a, b)
    assert min(a, b) <= h * (1 + 1e-12) + 1e-300
    assert h <= plain_mean(a, b) * (1 + 1e-12) + 1e-300
    assert h == harmonic_mean(b, a)
