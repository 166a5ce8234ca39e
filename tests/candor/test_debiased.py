"""The debiased error, the floor of the gap, wider bins, and MCE of bins that hold enough."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.calibration import ReliabilityBins, debiased_l2, gap, gap_floor, mce
from candor.errors import InvalidInput

predictions = st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60)


def bins_of(pairs: list[tuple[float, bool]], n_bins: int = 20) -> ReliabilityBins:
    return ReliabilityBins.of([c for c, _ in pairs], [k for _, k in pairs], n_bins)


def unbiased_square_ce(pairs: list[tuple[float, bool]], n_bins: int) -> float:
    """As the authors' code has it, a list a bin: the square of the bias less the variance of the mean label."""
    data: list[list[tuple[float, bool]]] = [[] for _ in range(n_bins)]
    for c, k in pairs:
        data[next(b for b in range(n_bins) if c <= (b + 1) / n_bins or b == n_bins - 1)].append((c, k))
    total = 0.0
    for inside in data:
        if len(inside) >= 2:
            mean_label = float(np.mean([k for _, k in inside]))
            bias = float(np.mean([c for c, _ in inside])) - mean_label
            total += len(inside) / len(pairs) * (bias**2 - mean_label * (1 - mean_label) / (len(inside) - 1))
    return total


def test_by_hand() -> None:
    bins = ReliabilityBins(*(np.array(c, np.float64) for c in ([1, 4, 5], [0.2, 2.0, 4.5], [1, 1, 4])))
    # (.5 - .25)^2 - .25 .75 / 3 = 0; (.9 - .8)^2 - .8 .2 / 4 = -.03
    assert debiased_l2(bins) == pytest.approx(0.4 * 0 + 0.5 * -0.03)
    assert gap_floor(bins) == pytest.approx(2 / 10 * math.sqrt(0.2 * 0.8 + 4 * 0.25 + 5 * 0.09))
    assert mce(bins) == pytest.approx(0.8)
    assert mce(bins, least=2) == pytest.approx(0.25)
    assert mce(bins, least=5) == pytest.approx(0.1)
    assert math.isnan(mce(bins, least=6))


@given(predictions.filter(bool), st.integers(1, 20))
def test_it_is_the_authors(pairs: list[tuple[float, bool]], n_bins: int) -> None:
    assert debiased_l2(bins_of(pairs, n_bins)) == pytest.approx(unbiased_square_ce(pairs, n_bins), abs=1e-12)


def test_a_calibrated_model_has_none_on_average_whatever_its_size() -> None:
    rng = np.random.default_rng(0)
    for n in (60, 600):
        centres = (rng.integers(0, 20, (2000, n)) + 0.5) / 20
        seen = [ReliabilityBins.of(c, rng.random(n) < c, 20) for c in centres]
        debiased = [debiased_l2(b) for b in seen]
        plain = [float(np.sum((b.confidence - b.correct) ** 2 / np.maximum(b.count, 1)) / n) for b in seen]
        assert abs(np.mean(debiased)) < 4 * np.std(debiased) / math.sqrt(2000)
        assert np.mean(plain) > 20 * abs(np.mean(debiased))


def test_a_known_error_is_found_on_average() -> None:
    rng = np.random.default_rng(1)
    centres = (rng.integers(4, 20, (2000, 200)) + 0.5) / 20
    seen = [debiased_l2(ReliabilityBins.of(c, rng.random(200) < c - 0.1, 20)) for c in centres]
    assert np.mean(seen) == pytest.approx(0.01, abs=4 * np.std(seen) / math.sqrt(2000))


def test_the_gap_of_a_calibrated_model_is_within_its_floor_95_times_of_100() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.beta(4, 1.5, (3000, 300))
    bins = [ReliabilityBins.of(c, rng.random(300) < c, 20) for c in confidence]
    within = np.mean([abs(gap(b)) <= gap_floor(b) for b in bins])
    assert within == pytest.approx(0.9545, abs=0.015)


@given(predictions)
def test_twenty_bins_merged_are_ten(pairs: list[tuple[float, bool]]) -> None:
    merged, ten = bins_of(pairs, 20).merged(2), bins_of(pairs, 10)
    for name in ("count", "confidence", "correct"):
        np.testing.assert_allclose(getattr(merged, name), getattr(ten, name), atol=1e-12)


def test_bins_that_cannot_be_merged_so() -> None:
    for factor in (0, -1, 3):
        with pytest.raises(InvalidInput, match="20 bins cannot be merged"):
            bins_of([], 20).merged(factor)


def test_nothing_has_no_score() -> None:
    assert math.isnan(debiased_l2(bins_of([])))
    assert math.isnan(gap_floor(bins_of([])))
