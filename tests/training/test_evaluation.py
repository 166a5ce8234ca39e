from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from candor.calibration import calibrated
from candor.errors import InvalidInput
from training.evaluation import ScopeResult, both_scopes, evaluate, mean_and_std

TEXT = torch.eye(2)
IMAGES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
LABELS = torch.tensor([0, 1, 0])
# every image: logits (ln 3, 0) one way or the other, softmax (0.75, 0.25); two of three right
LN3 = math.log(3)


def result(confidence: list[float], correct: list[int], **figures: float) -> ScopeResult:
    return ScopeResult(np.array(confidence), np.array(correct, bool), **{"fd": 0.5, "text_deviation": 0.1, **figures})


def test_figures_by_hand() -> None:
    scored = evaluate(IMAGES, LABELS, TEXT, TEXT, logit_scale=LN3)
    figures = scored.figures()
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["confidence"] == pytest.approx(0.75)
    for name in ("gap", "ece", "ece_15", "ace", "mce", "mce_weighted"):  # one bin holds all three
        assert figures[name] == pytest.approx(0.75 - 2 / 3), name
    assert figures["fd"] == pytest.approx(math.sqrt(2))
    assert figures["text_deviation"] == pytest.approx(0)
    assert figures["brier"] == pytest.approx((2 * (0.25**2 + 0.25**2) + 0.75**2 + 0.75**2) / 3)
    assert figures["nll"] == pytest.approx((2 * math.log(4 / 3) + math.log(4)) / 3)
    # class 0: p .75 with 1 of 1 right, p .25 twice with 1 right; class 1: p .25 with 0 of 1, p .75 twice with 1
    assert figures["classwise_ece"] == pytest.approx(((0.25 + 0.5) / 3 + (0.25 + 0.5) / 3) / 2)
    assert math.isnan(figures["piece"])
    assert scored.n_labels == 2
    reference = scored.reference()
    assert sum(reference.confidence_histogram) == 3
    assert len(reference.confidence_histogram) == 20
    assert reference.reliability.correct == [0, 0, 0, 0, 0, 0, 0, 2, 0, 0]


def test_piece_takes_near_and_far_images_apart() -> None:
    near_the_first = torch.tensor([[1.0, 0.0]])
    scored = evaluate(IMAGES, LABELS, TEXT, TEXT, LN3, reference_features=near_the_first)
    # the near image: right at .75; the two far ones: one right, 1.5 expected
    assert scored.figures()["piece"] == pytest.approx((0.25 + 0.5) / 3)
    none = evaluate(IMAGES, LABELS, TEXT, TEXT, LN3, reference_features=torch.empty(0, 2))
    assert math.isnan(none.figures()["piece"])


def test_a_calibrator_changes_confidence_and_not_accuracy() -> None:
    plain = evaluate(IMAGES, LABELS, TEXT, TEXT, LN3).figures()
    halved = partial(calibrated, multiplier=torch.full((2,), 0.5, dtype=torch.float64))
    cooled = evaluate(IMAGES, LABELS, TEXT, TEXT, LN3, probabilities=halved).figures()
    root = math.sqrt(3)
    assert cooled["confidence"] == pytest.approx(root / (root + 1))
    assert cooled["accuracy"] == plain["accuracy"]
    assert cooled["nll"] == pytest.approx((-2 * math.log(root / (root + 1)) - math.log(1 / (root + 1))) / 3)


def test_a_very_sure_wrong_answer_has_a_finite_nll() -> None:
    """In float32 its probability, e^-200, would be 0."""
    scored = evaluate(IMAGES[:1], torch.tensor([1]), TEXT, TEXT, 200.0)
    assert scored.figures()["nll"] == pytest.approx(200)
    assert scored.figures()["brier"] == pytest.approx(2)


def test_the_number_of_bins_is_a_choice() -> None:
    scored = result([0.51, 0.59], [1, 0])
    ten, twenty = scored.figures(), scored.figures(20)
    assert ten["ece"] == pytest.approx(0.05)  # both in (.5, .6]: 1 right, 1.1 expected
    assert ten["mce"] == pytest.approx(0.05)
    assert twenty["ece"] == pytest.approx((0.49 + 0.59) / 2)
    assert twenty["mce"] == pytest.approx(0.59)
    assert twenty["mce_weighted"] == pytest.approx(0.59 / 2)
    assert ten["ece_15"] == twenty["ece_15"] == pytest.approx((0.49 + 0.59) / 2)  # 8/15 lies between
    assert len(scored.bins.count) == 10


def test_no_image_is_nan_and_no_error() -> None:
    scored = evaluate(torch.empty(0, 2), torch.empty(0, dtype=torch.int64), TEXT, TEXT, LN3)
    figures = scored.figures()
    assert all(math.isnan(figures[name]) for name in figures if name not in ("fd", "text_deviation"))


def test_both_means_by_their_names() -> None:
    base, new = result([0.8, 0.8], [1, 1], nll=0.2), result([0.6, 0.6], [1, 0], nll=0.6)
    figures = both_scopes({"new": new, "base": base})
    assert list(figures) == ["base", "new", "mean", "harmonic_mean"]
    assert figures["mean"]["accuracy"] == pytest.approx(0.75)
    assert figures["harmonic_mean"]["accuracy"] == pytest.approx(2 / (1 / 1.0 + 1 / 0.5))
    assert figures["mean"]["ece"] == pytest.approx((0.2 + 0.1) / 2)
    assert figures["harmonic_mean"]["ece"] == pytest.approx(2 / (1 / 0.2 + 1 / 0.1))
    assert figures["harmonic_mean"]["nll"] == pytest.approx(0.3)
    assert figures["mean"]["gap"] == pytest.approx((-0.2 + 0.1) / 2)
    assert math.isnan(figures["harmonic_mean"]["gap"])  # it has a sign
    assert math.isnan(figures["mean"]["piece"])
    assert list(both_scopes({"new": new})) == ["new"]


def test_mean_over_data_sets_then_spread_over_seeds() -> None:
    runs = {("a", 1): {"ece": 0.1}, ("b", 1): {"ece": 0.3}, ("a", 2): {"ece": 0.2}, ("b", 2): {"ece": 0.6}}
    # seeds: 0.2 and 0.4; the spread between data sets does not enter
    assert mean_and_std(runs)["ece"] == {"mean": pytest.approx(0.3), "std": pytest.approx(0.2 / math.sqrt(2))}
    alone = mean_and_std({("a", 1): {"ece": 0.1}})["ece"]
    assert alone["mean"] == 0.1
    assert math.isnan(alone["std"])


def test_unlike_things_are_not_averaged() -> None:
    with pytest.raises(InvalidInput, match="b seed 2"):
        mean_and_std({("a", 1): {}, ("b", 1): {}, ("a", 2): {}})
    with pytest.raises(InvalidInput, match="no run"):
        mean_and_std({})
