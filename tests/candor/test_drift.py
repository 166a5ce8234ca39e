"""Distances of distributions: by hand, against scipy on the samples themselves, and how often they cry wolf."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from candor.calibration import ks, ks_floor, psi, psi_floor, wasserstein
from candor.calibration.bins import bin_index
from candor.errors import InvalidInput

BINS = 20
DISTANCES = (psi, ks, wasserstein)
whole = st.integers(0, 10_000)
pairs = st.integers(1, 30).flatmap(
    lambda b: st.tuples(*(st.lists(whole, min_size=b, max_size=b).filter(any) for _ in range(2)))
)


def middles(counts: list[int]) -> np.ndarray:
    """A sample that has these counts, each at the middle of its bin."""
    return np.repeat((np.arange(len(counts)) + 0.5) / len(counts), counts)


def counted(confidence: np.ndarray) -> np.ndarray:
    return np.bincount(bin_index(confidence, BINS), minlength=BINS)


def test_by_hand() -> None:
    now, then = [8, 0, 2], [3, 4, 3]
    p, q = (8.5 / 11.5, 0.5 / 11.5, 2.5 / 11.5), (3.5 / 11.5, 4.5 / 11.5, 3.5 / 11.5)
    assert psi(now, then) == pytest.approx(sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True)))
    assert psi(now, then) == pytest.approx(
        5 / 11.5 * math.log(17 / 7) + 4 / 11.5 * math.log(9) + 1 / 11.5 * math.log(7 / 5)
    )
    assert ks(now, then) == pytest.approx(0.5)  # .8 - .3 at 1/3, .8 - .7 at 2/3
    assert wasserstein(now, then) == pytest.approx((0.5 + 0.1) / 3)


def test_floors_by_hand() -> None:
    assert psi_floor(100, 400) == pytest.approx(36.19087 * 0.0125, abs=1e-6)  # chi-square of 19 degrees, a table's 99 %
    assert psi_floor(100, math.inf, bins=16) == pytest.approx(0.30578, abs=1e-5)
    assert psi_floor(50, 50, bins=2, alpha=0.05) == pytest.approx(3.8415 / 25, abs=1e-5)
    assert ks_floor(100, 100) == pytest.approx(1.6276 * math.sqrt(0.02), abs=1e-5)
    assert ks_floor(1, math.inf, alpha=0.05) == pytest.approx(1.3581, abs=1e-4)


@given(pairs)
def test_ks_and_wasserstein_are_scipys_on_samples_at_the_middles(both: tuple[list[int], list[int]]) -> None:
    now, then = both
    edges = (np.arange(len(now)) + 0.5) / len(now)
    assert wasserstein(now, then) == pytest.approx(stats.wasserstein_distance(edges, edges, now, then), abs=1e-12)
    short = [[min(c, 40) for c in counts] for counts in both]
    if all(map(any, short)):
        with np.errstate(divide="ignore"):  # in the p-value of one or two samples
            expected = stats.ks_2samp(middles(short[0]), middles(short[1]), method="asymp").statistic
        assert ks(*short) == pytest.approx(expected, abs=1e-12)


def test_what_bins_hide_is_bounded() -> None:
    rng = np.random.default_rng(1)
    now, then = rng.beta(5, 2, 3000), rng.beta(3, 2, 5000)
    a, b = counted(now), counted(then)
    exact = stats.ks_2samp(now, then).statistic
    assert exact - max((a / 3000).max(), (b / 5000).max()) <= ks(a, b) <= exact
    assert wasserstein(a, b) == pytest.approx(stats.wasserstein_distance(now, then), abs=1 / BINS)


@given(pairs)
def test_distances_are_symmetric_and_zero_only_for_the_same(both: tuple[list[int], list[int]]) -> None:
    now, then = both
    for distance in DISTANCES:
        value = distance(now, then)
        assert value >= 0
        assert distance(then, now) == pytest.approx(value, abs=1e-12)
        assert distance(now, now) == 0
    assert ks(now, then) <= 1
    assert wasserstein(now, then) <= ks(now, then) + 1e-12  # a mean is no more than the largest
    same = np.array(now) * sum(then) == np.array(then) * sum(now)
    assert (ks(now, then) < 1e-12) == bool(same.all())


@given(pairs, st.integers(2, 9))
def test_ks_and_wasserstein_know_shares_only(both: tuple[list[int], list[int]], times: int) -> None:
    now, then = both
    for distance in (ks, wasserstein):
        assert distance([c * times for c in now], then) == pytest.approx(distance(now, then), abs=1e-12)


def false_alarms(alarm: Callable[[np.ndarray, np.ndarray], bool], n: int, m: int, draws: int = 4000) -> float:
    """How often a sample of n is alarming beside one of m of the same distribution, with all bins about as a model's."""
    rng = np.random.default_rng(n)
    shares = counted(rng.beta(4, 1.5, 100_000)) / 100_000
    return float(np.mean([alarm(rng.multinomial(n, shares), rng.multinomial(m, shares)) for _ in range(draws)]))


@pytest.mark.parametrize(("n", "m"), [(100, 2000), (500, 2000), (2000, 2000)])
def test_where_nothing_moved_one_sample_in_a_hundred_is_above_the_floor(n: int, m: int) -> None:
    above_psi = false_alarms(lambda a, b: psi(a, b) > psi_floor(n, m), n, m)
    assert 0.0005 <= above_psi <= 0.015
    above_ks = false_alarms(lambda a, b: ks(a, b) > ks_floor(n, m), n, m)
    assert 0.002 <= above_ks <= 0.014


def test_a_fixed_limit_cries_wolf_where_the_floor_does_not() -> None:
    assert false_alarms(lambda a, b: psi(a, b) > 0.1, 100, 20_000, 1000) > 0.5
    assert false_alarms(lambda a, b: psi(a, b) > psi_floor(100, 20_000), 100, 20_000, 1000) < 0.015


def test_what_moved_is_seen() -> None:
    rng = np.random.default_rng(0)
    now, then = counted(rng.beta(4, 2.5, 1000)), counted(rng.beta(4, 1.5, 2000))
    assert psi(now, then) > psi_floor(1000, 2000)
    assert ks(now, then) > ks_floor(1000, 2000)


def test_nothing_has_no_distance() -> None:
    for distance in DISTANCES:
        assert math.isnan(distance([0, 0], [1, 2]))
        assert math.isnan(distance([1, 2], [0, 0]))
    for floor in (psi_floor, ks_floor):
        assert math.isnan(floor(0, 10))
        assert math.isnan(floor(10, 0))


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ([1, 2], [1, 2, 3]),
        ([], []),
        ([1, -1], [1, 1]),
        ([1, float("nan")], [1, 1]),
        ([1, 1], [1, float("inf")]),
        ([[1]], [[1]]),
    ],
)
def test_bad_counts_are_refused(now: list[float], then: list[float]) -> None:
    for distance in DISTANCES:
        with pytest.raises(InvalidInput):
            distance(now, then)
