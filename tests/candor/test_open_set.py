"""Open-set scores and figures against hand-worked numbers, plain loops in float64, and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from candor.calibration.open_set import (
    OpenSetThreshold,
    aupr,
    auroc,
    figures,
    fpr_at_tpr,
    matching_threshold,
    mcm,
    neglabel,
    threshold_at,
)
from candor.errors import InvalidInput

SCORES = st.lists(st.sampled_from([-1.5, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 3.0]), min_size=1, max_size=30)


def test_mcm_by_hand() -> None:
    found = mcm(torch.tensor([[1.0, 0.0], [0.3, 0.3]], dtype=torch.float64))
    assert found.tolist() == pytest.approx([math.e / (math.e + 1), 0.5])
    assert mcm(torch.tensor([1.0, 0.0]), temperature=0.01).item() == pytest.approx(1)
    assert mcm(torch.tensor([[0.2], [-0.9]])).tolist() == [1, 1]  # says nothing of one label


def neglabel_by_loops(labels: NDArray[np.float64], negatives: NDArray[np.float64], groups: int) -> list[float]:
    groups = min(groups, negatives.shape[1])
    size = negatives.shape[1] // groups
    scores = []
    for z, n in zip(labels, negatives, strict=True):
        top = sum(math.exp(v) for v in z)
        parts = [top / (top + sum(math.exp(v) for v in n[g * size : (g + 1) * size])) for g in range(groups)]
        scores.append(sum(parts) / groups)
    return scores


@pytest.mark.parametrize(("negatives", "groups"), [(12, 4), (14, 4), (3, 100), (1, 1), (12, 1)])
def test_neglabel_is_the_mean_over_groups(negatives: int, groups: int) -> None:
    rng = np.random.default_rng(0)
    z, n = rng.normal(0, 3, (5, 7)), rng.normal(0, 3, (5, negatives))
    found = neglabel(torch.from_numpy(z), torch.from_numpy(n), groups)
    assert found.tolist() == pytest.approx(neglabel_by_loops(z, n, groups), rel=1e-12)


def test_neglabel_by_hand_and_far_out() -> None:
    by_hand = neglabel(torch.tensor([math.log(3.0)]), torch.tensor([0.0, math.log(2.0)]), 2)  # 3/4 and 3/5
    assert by_hand.item() == pytest.approx((0.75 + 0.6) / 2)
    assert neglabel(torch.tensor([5e4]), torch.tensor([5e4, 4e4]), 2).item() == pytest.approx(0.75)
    assert neglabel(torch.tensor([-5e4]), torch.tensor([-5e4, 4e4]), 2).item() == pytest.approx(0.25)


@pytest.mark.parametrize(("labels", "negatives", "groups"), [(0, 3, 1), (3, 0, 1), (3, 3, 0)])
def test_neglabel_of_nothing(labels: int, negatives: int, groups: int) -> None:
    with pytest.raises(InvalidInput, match=f"of {labels} labels, {negatives} negatives and {groups} groups"):
        neglabel(torch.zeros(2, labels), torch.zeros(2, negatives), groups)
    with pytest.raises(InvalidInput, match="0 labels"):
        mcm(torch.zeros(2, 0))


def test_figures_by_hand() -> None:
    known, unknown = [0.9, 0.8, 0.4, 0.4], [0.8, 0.4, 0.1]
    # pairs won: .9 3, .8 2 + tie, .4 1 + tie each -> 3 + 2.5 + 1.5 + 1.5 of 12
    assert auroc(known, unknown) == pytest.approx(8.5 / 12)
    # .9: P 1, R 1/4; .8: P 2/3, R 2/4; .4: P 4/6, R 1
    assert aupr(known, unknown) == pytest.approx(0.25 * 1 + 0.25 * 2 / 3 + 0.5 * 4 / 6)
    assert threshold_at(known, 0.5) == 0.8
    assert fpr_at_tpr(known, unknown, 0.5) == pytest.approx(1 / 3)
    assert figures(known, unknown) == {
        "auroc": auroc(known, unknown),
        "fpr95": pytest.approx(2 / 3),
        "aupr": aupr(known, unknown),
    }


@given(SCORES, SCORES)
def test_auroc_counts_pairs(known: list[float], unknown: list[float]) -> None:
    wins = sum((k > u) + 0.5 * (k == u) for k in known for u in unknown)
    assert auroc(known, unknown) == pytest.approx(wins / (len(known) * len(unknown)), rel=1e-12)
    assert auroc(unknown, known) == pytest.approx(1 - auroc(known, unknown))


@given(SCORES, SCORES)
def test_aupr_is_the_sum_over_thresholds(known: list[float], unknown: list[float]) -> None:
    total, recall = 0.0, 0.0
    for t in sorted({*known, *unknown}, reverse=True):
        hits, false = sum(k >= t for k in known), sum(u >= t for u in unknown)
        total += (hits / len(known) - recall) * hits / (hits + false)
        recall = hits / len(known)
    assert aupr(known, unknown) == pytest.approx(total, rel=1e-12)


def test_as_torchmetrics() -> None:
    rng = np.random.default_rng(1)
    known, unknown = rng.normal(0.6, 0.2, 400).round(2), rng.normal(0.4, 0.2, 700).round(2)
    scores, truth = torch.tensor(np.concatenate([known, unknown])), torch.tensor([1] * 400 + [0] * 700)
    scores = (scores - scores.min()) / (scores.max() - scores.min())  # torchmetrics takes others for logits
    assert auroc(known, unknown) == pytest.approx(binary_auroc(scores, truth).item(), abs=1e-6)
    assert aupr(known, unknown) == pytest.approx(binary_average_precision(scores, truth).item(), abs=1e-6)


@given(SCORES, st.sampled_from([0.01, 0.07, 0.3, 0.5, 0.8, 0.95, 0.99, 1.0]))
def test_the_threshold_is_the_largest_that_keeps_enough(scores: list[float], rate: float) -> None:
    enough = [t for t in scores if sum(s >= t for s in scores) / len(scores) >= rate]
    assert threshold_at(scores, rate) == max(enough)


def test_a_rate_that_floats_cannot_hold() -> None:
    assert threshold_at(np.arange(100), 0.07) == 93  # 0.07 * 100 is more than 7


@pytest.mark.parametrize("rate", [0.0, -0.5, 1.01, math.nan])
def test_a_rate_that_is_none(rate: float) -> None:
    with pytest.raises(InvalidInput, match=f"above 0 and at most 1, got {rate}"):
        threshold_at([1.0], rate)


def test_scores_that_are_none() -> None:
    with pytest.raises(InvalidInput, match="0 scores of known"):
        auroc([], [1.0])
    with pytest.raises(InvalidInput, match="2 scores of unknown images, 1 of them NaN"):
        aupr([1.0], [0.5, math.nan])


MCM = OpenSetThreshold(score="mcm", threshold=0.1, true_positive_rate=0.95, images=40, labels=12)
NEGLABEL = OpenSetThreshold(
    score="neglabel", threshold=0.8, true_positive_rate=0.95, images=40, labels=12, vocabulary="ab" * 32
)


def test_a_threshold_among_another_number_of_labels() -> None:
    assert (MCM.at(12), NEGLABEL.at(12), NEGLABEL.at(3)) == (0.1, 0.8, 0.8)
    assert MCM.at(1) == 1  # MCM is 1 of one label: everything is known
    # the best cosine stands .2 above all others, whatever their number
    for labels in (2, 5, 300):
        cosines = torch.full((labels,), 0.2, dtype=torch.float64)
        cosines[0] = 0.4
        fitted = MCM.model_copy(update={"threshold": mcm(cosines).item(), "labels": labels})
        assert fitted.at(2) == pytest.approx(1 / (1 + math.exp(-0.2)))
    with pytest.raises(InvalidInput, match="among 0 labels"):
        MCM.at(0)


def test_a_threshold_fits_one_score_and_one_vocabulary() -> None:
    both = (MCM, NEGLABEL)
    assert matching_threshold(both, "mcm", None) is MCM
    assert matching_threshold(both, "neglabel", "ab" * 32) is NEGLABEL
    assert matching_threshold(both, "neglabel", "cd" * 32) is None
    assert matching_threshold((), "mcm", None) is None


@pytest.mark.parametrize(
    "change",
    [
        {"score": "mcm", "vocabulary": "ab"},
        {"score": "neglabel"},
        {"labels": 1},
        {"threshold": 1.0},
        {"threshold": 0.0},
        {"threshold": math.nan},
        {"true_positive_rate": 0.0},
        {"images": 0},
        {"score": "energy"},
        {"more": 1},
    ],
)
def test_a_threshold_that_cannot_be(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        OpenSetThreshold.model_validate(MCM.model_dump() | change)
