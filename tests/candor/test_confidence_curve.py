"""The curve against softmax in float64, over logits of many shapes; what float16 costs it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from candor.calibration.confidence_curve import MULTIPLIERS, confidence_at, confidence_curve
from candor.errors import InvalidInput

SIZES = (2, 3, 5, 20, 100, 1000)
ROWS = 30


def logit_sets(c: int) -> Iterator[NDArray[np.float64]]:
    """Logits of C labels: noise at many scales, as CLIP has them, heavy tails, one or half of the labels far ahead."""
    rng = np.random.default_rng(c)
    for scale in (0.1, 0.3, 1, 2, 4, 8, 20):
        yield scale * rng.normal(size=(ROWS, c))
    clip = 100 * (0.2 + 0.03 * rng.normal(size=(ROWS, c)))
    clip[np.arange(ROWS), rng.integers(0, c, ROWS)] += rng.uniform(0, 12, ROWS)
    yield clip
    yield 3 * rng.standard_t(2, size=(ROWS, c))
    ahead = np.zeros((ROWS, c))
    ahead[:, 0] = rng.uniform(0, 30, ROWS)
    yield ahead
    yield -np.where(rng.random((ROWS, c)) < 0.5, 0.01, 20) * rng.random((ROWS, c))


def softmax_top(logits: NDArray[np.float64], multiplier: float) -> NDArray[np.float64]:
    powers = np.exp(multiplier * (logits - logits.max(axis=1, keepdims=True)))
    return 1 / powers.sum(axis=1)


@pytest.mark.parametrize("c", SIZES)
@pytest.mark.parametrize(("low", "high", "error"), [(0.1, 10, 3e-4), (0.05, 20, 2e-3)])
def test_confidence_is_that_of_softmax_in_float64(c: int, low: float, high: float, error: float) -> None:
    worst = 0.0
    for logits in logit_sets(c):
        curve = confidence_curve(torch.tensor(logits)).numpy().astype(np.float16)
        for temperature in np.geomspace(low, high, 41):
            expected = softmax_top(logits, 1 / temperature)
            worst = max(worst, np.abs(confidence_at(curve, 1 / temperature) - expected).max())
    assert worst < error


@pytest.mark.parametrize("c", SIZES)
def test_on_the_grid_it_is_exact_to_float16(c: int) -> None:
    for logits in logit_sets(c):
        z = torch.tensor(logits)
        curve = confidence_curve(z)
        for i, m in enumerate(MULTIPLIERS):
            expected = -(m * z).log_softmax(dim=-1).max(dim=-1).values.numpy()
            np.testing.assert_allclose(curve[:, i], expected, rtol=1e-4, atol=1e-7)
            found = confidence_at(curve.numpy().astype(np.float16), np.full(ROWS, m))
            np.testing.assert_allclose(found, np.exp(-expected), atol=2e-4)


def test_by_hand() -> None:
    gap = 2 * math.log(3)  # at m = 1/2 the second label is a third as likely as the first
    curve = confidence_curve(torch.tensor([[1.0 + gap, 1.0]])).double().numpy()
    assert confidence_at(curve, 0.5) == pytest.approx([0.75], abs=1e-4)
    assert confidence_at(curve, 1.0) == pytest.approx([0.9], abs=1e-4)
    assert confidence_curve(torch.tensor([[5.0]])).tolist() == [[0.0] * len(MULTIPLIERS)]  # one label is certain
    assert confidence_at(np.zeros((1, len(MULTIPLIERS))), 1.0) == pytest.approx([1.0], abs=1e-7)
    alike = confidence_curve(torch.zeros(1, 4))
    assert alike[0].tolist() == pytest.approx([math.log(4)] * len(MULTIPLIERS))
    assert confidence_at(alike, 3.3) == pytest.approx([0.25])


def test_each_prediction_has_its_own_multiplier() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 7)) * 3
    m = np.geomspace(0.1, 10, 50)
    curve = confidence_curve(torch.tensor(logits)).numpy()
    expected = [softmax_top(row[None], one)[0] for row, one in zip(logits, m, strict=True)]
    assert confidence_at(curve, m) == pytest.approx(expected, abs=3e-4)


def test_beyond_the_grid_its_end_is_taken() -> None:
    curve = confidence_curve(torch.randn(3, 5)).numpy()
    for beyond, end in ((1e-3, MULTIPLIERS[0]), (1e4, MULTIPLIERS[-1])):
        assert confidence_at(curve, beyond).tolist() == confidence_at(curve, end).tolist()


def test_many_labels_take_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = 4 * torch.randn(9, 11)
    whole = confidence_curve(logits)
    monkeypatch.setattr("candor.calibration.confidence_curve.MOST_AT_ONCE", 2 * len(MULTIPLIERS) * 11)
    assert torch.equal(confidence_curve(logits), whole)
    assert confidence_curve(logits[:0]).shape == (0, len(MULTIPLIERS))


@pytest.mark.parametrize(
    ("curve", "multiplier", "message"),
    [
        (np.zeros((2, 3)), np.ones(2), r"got \(2, 3\) and \(2,\)"),
        (np.zeros(40), 1.0, r"got \(40,\)"),
        (np.zeros((2, 40)), np.ones(3), r"and \(3,\)"),
        (np.zeros((2, 40)), [1.0, 0.0], "above 0"),
        (np.zeros((2, 40)), math.nan, "above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(curve: NDArray[np.float64], multiplier: float, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        confidence_at(curve, multiplier)
