"""Adaptive ECE, PIECE and proximity: by hand, by slow loops, and by what they must not depend on."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.calibration import ReliabilityBins, adaptive_ece, ece, piece, proximity
from candor.errors import InvalidInput

Triples = list[tuple[float, bool, float]]
triples = st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0, 1)), min_size=1, max_size=60)


def test_adaptive_ece_by_hand() -> None:
    # two bins; the median of 0.1 0.2 0.6 0.8 0.9 is 0.6, and a bin holds its left edge: {0.1, 0.2} and {0.6, 0.8, 0.9}
    confidence, correct = [0.9, 0.1, 0.8, 0.2, 0.6], [1, 0, 0, 1, 1]
    expected = 2 / 5 * abs(1 / 2 - (0.1 + 0.2) / 2) + 3 / 5 * abs(2 / 3 - (0.6 + 0.8 + 0.9) / 3)
    assert adaptive_ece(confidence, correct, 2) == pytest.approx(expected)


def test_with_as_many_bins_as_predictions_each_has_its_own() -> None:
    confidence, correct = np.linspace(0.05, 0.95, 10), np.arange(10) % 3 == 0
    assert adaptive_ece(confidence, correct) == pytest.approx(np.abs(correct - confidence).mean())


def test_equal_confidences_are_one_bin() -> None:
    # split by position, the first half would be all right and the second all wrong: 1/2 (1 - 0.5) + 1/2 (0.5 - 0)
    confidence, correct = [0.5] * 20, [1] * 10 + [0] * 10
    assert adaptive_ece(confidence, correct) == pytest.approx(0)
    # half of them equal at the top: the edges 0.5, 0.6 ... 1.0 of the quantiles fall together, and their bin is the last
    confidence, correct = [0.1, 0.2, 0.3, 0.4, 1.0, 1.0, 1.0, 1.0], [0, 0, 0, 0, 1, 1, 1, 0]
    # quartiles: 0.1, 0.275, 0.7, 1.0, 1.0 -> {0.1, 0.2}, {0.3, 0.4}, {four times 1.0}
    assert adaptive_ece(confidence, correct, 4) == pytest.approx((0.3 + 0.7 + 1.0) / 8)


def adaptive_loop(confidence: list[float], correct: list[bool], n_bins: int) -> float:
    """scikit-learn's KBinsDiscretizer with quantiles, written out: percentiles, equal ones removed, left edge closed."""
    ordered = sorted(confidence)
    edges: list[float] = []
    last = -1.0
    for b in range(n_bins + 1):
        place = b / n_bins * (len(ordered) - 1)
        low = min(int(place), len(ordered) - 1)
        high = min(low + 1, len(ordered) - 1)
        edge = ordered[low] + (ordered[high] - ordered[low]) * (place - low)
        if edge - last > 1e-8:
            edges.append(edge)
        last = edge
    inner = edges[1:-1]
    total = 0.0
    for b in range(len(inner) + 1):
        inside = [i for i, c in enumerate(confidence) if sum(c >= edge for edge in inner) == b]
        total += abs(math.fsum(correct[i] for i in inside) - math.fsum(confidence[i] for i in inside))
    return total / len(confidence)


@pytest.mark.parametrize("seed", range(20))
def test_adaptive_ece_equals_the_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, n_bins = int(rng.integers(1, 200)), int(rng.integers(1, 25))
    confidence = np.round(rng.beta(5, 1, n), 2 if seed % 2 else 12).tolist()  # every other time with many ties
    correct = (rng.random(n) < 0.7).tolist()
    assert adaptive_ece(confidence, correct, n_bins) == pytest.approx(adaptive_loop(confidence, correct, n_bins), abs=1e-12)


def test_piece_by_hand_sees_what_ece_averages_away() -> None:
    confidence, correct, near = [0.75, 0.75, 0.75, 0.75], [1, 1, 1, 0], [0.9, 0.8, 0.2, 0.1]
    assert ece(ReliabilityBins.of(confidence, correct)) == pytest.approx(0)
    # median proximity 0.5: far {0.75 right, 0.75 wrong}, near {0.75 right, 0.75 right}
    expected = 2 / 4 * abs(1 / 2 - 0.75) + 2 / 4 * abs(1 - 0.75)
    assert piece(confidence, correct, near, n_proximity_bins=2) == pytest.approx(expected)


@given(triples, st.integers(1, 12), st.integers(1, 12), st.randoms(use_true_random=False))
def test_scores_are_bounded_and_blind_to_order(rows: Triples, n_bins: int, n_near: int, rng: random.Random) -> None:
    confidence, correct, near = zip(*rows, strict=True)
    ace, pie = adaptive_ece(confidence, correct, n_bins), piece(confidence, correct, near, n_bins, n_near)
    assert 0 <= ace <= 1
    assert ece(ReliabilityBins.of(confidence, correct, n_bins)) - 1e-9 <= pie <= 1
    confidence, correct, near = zip(*rng.sample(rows, len(rows)), strict=True)
    assert adaptive_ece(confidence, correct, n_bins) == pytest.approx(ace, abs=1e-9)
    assert piece(confidence, correct, near, n_bins, n_near) == pytest.approx(pie, abs=1e-9)


@given(triples, st.integers(1, 12))
def test_every_prediction_twice_changes_nothing_where_the_edges_stay(rows: Triples, n_bins: int) -> None:
    confidence, correct, _ = zip(*rows, strict=True)
    once = piece(confidence, correct, [0.5] * len(rows), n_bins)  # one proximity bin, so PIECE is ECE
    assert once == pytest.approx(ece(ReliabilityBins.of(confidence, correct, n_bins)), abs=1e-9)
    twice = piece(confidence * 2, correct * 2, [0.5] * 2 * len(rows), n_bins)
    assert twice == pytest.approx(once, abs=1e-9)


def test_proximity_by_hand() -> None:
    reference = [[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]
    # from the origin: 0, 5, 10; from (3, 4): 5, 0, 5
    assert proximity([[0.0, 0.0], [3.0, 4.0]], reference, 2).tolist() == pytest.approx([math.exp(-2.5), math.exp(-2.5)])
    assert proximity([[0.0, 0.0]], reference, 1).tolist() == [1.0]
    assert proximity([[0.0, 0.0]], reference).tolist() == pytest.approx([math.exp(-5)])  # only three of the five are there


def test_proximity_equals_the_loop_in_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("candor.calibration.quantiles.CHUNK", 7)
    rng = np.random.default_rng(0)
    x, r = rng.normal(size=(20, 6)), rng.normal(size=(30, 6))
    r[3] = x[2] + 1e-9  # almost the same: dot products alone would lose this distance
    expected = [math.exp(-sum(sorted(math.dist(a, b) for b in r)[:5]) / 5) for a in x]
    np.testing.assert_allclose(proximity(x, r), expected, rtol=1e-12)
    assert -math.log(proximity(x[2:3], r, 1)[0]) == pytest.approx(math.sqrt(6) * 1e-9, rel=1e-6)
    assert proximity(np.zeros((0, 6)), r).shape == (0,)


@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_proximity_is_bounded_and_blind_to_the_order_of_the_reference(rng: random.Random, k: int) -> None:
    r = [[rng.uniform(-1, 1) for _ in range(3)] for _ in range(6)]
    x = [[rng.uniform(-1, 1) for _ in range(3)] for _ in range(4)]
    near = proximity(x, r, k)
    assert ((near > 0) & (near <= 1)).all()
    np.testing.assert_allclose(proximity(x, rng.sample(r, 6), k), near, rtol=1e-12)


def test_nothing_has_no_score() -> None:
    assert math.isnan(adaptive_ece([], []))
    assert math.isnan(piece([], [], []))


@pytest.mark.parametrize(
    "call",
    [
        lambda: adaptive_ece([float("nan")], [1]),
        lambda: adaptive_ece([0.5], [1, 1]),
        lambda: adaptive_ece([0.5], [1], 0),
        lambda: piece([0.5], [1], [0.1, 0.2]),
        lambda: piece([0.5], [1], [float("nan")]),
        lambda: piece([0.5], [1], [0.5], 10, 0),
        lambda: proximity([[1.0, 0.0]], np.zeros((0, 2))),
        lambda: proximity([[1.0, 0.0]], [[1.0]]),
        lambda: proximity([1.0, 0.0], [[1.0, 0.0]]),
        lambda: proximity([[float("nan")]], [[1.0]]),
        lambda: proximity([[1.0]], [[1.0]], 0),
    ],
)
def test_impossible_input_is_refused(call: object) -> None:
    with pytest.raises(InvalidInput):
        call()  # type: ignore[operator]
