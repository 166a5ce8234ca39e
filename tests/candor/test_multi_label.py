"""The multi-label score against a loop in float64 and by hand."""

from __future__ import annotations

import math

import pytest
import torch

from candor.calibration.multi_label import multi_label
from candor.errors import InvalidInput


def test_by_hand() -> None:
    """A label as likely as a word, and one 3 times as likely, against 2 and 6 words."""
    label_logits = torch.tensor([[0.0, math.log(3)]])
    background = torch.tensor([[0.0, math.log(5), math.log(7)]])
    rivals = torch.tensor([[True, False, False], [False, True, True]])
    assert multi_label(label_logits, background, rivals, words=2)[0].tolist() == pytest.approx([1 / 3, 3 / 15])
    assert multi_label(label_logits, background, rivals, words=6)[0].tolist() == pytest.approx([1 / 7, 3 / 39])


@pytest.mark.parametrize("scale", [1.0, 39.0, 100.0])
def test_as_a_loop_in_float64(scale: float) -> None:
    images, labels, words = 5, 7, 40
    label_logits = scale * (2 * torch.rand(images, labels) - 1)
    background = scale * (2 * torch.rand(images, words) - 1)
    rivals = torch.rand(labels, words) < 0.6
    rivals[:, 0] = True
    scores = multi_label(label_logits, background, rivals, words=300)
    for b in range(images):
        for c in range(labels):
            against = [math.exp(background[b, m].item()) for m in range(words) if rivals[c, m]]
            odds = math.exp(label_logits[b, c].item()) / (300 * sum(against) / len(against))
            assert scores[b, c].item() == pytest.approx(odds / (1 + odds), rel=1e-5, abs=1e-12)


def test_a_rival_far_below_the_rest_still_counts() -> None:
    """The likeliest word is no rival: what is left is e^-200 of it."""
    scores = multi_label(torch.tensor([[-100.0]]), torch.tensor([[100.0, -100.0]]), torch.tensor([[False, True]]), words=1)
    assert scores.item() == pytest.approx(0.5)


def test_labels_do_not_see_each_other() -> None:
    label_logits, background = 30 * torch.rand(4, 6), 30 * torch.rand(4, 50)
    rivals = torch.rand(6, 50) < 0.9
    together = multi_label(label_logits, background, rivals)
    for c in range(6):
        alone = multi_label(label_logits[:, c : c + 1], background, rivals[c : c + 1])
        torch.testing.assert_close(alone[:, 0], together[:, c], rtol=1e-6, atol=0)


def test_a_label_and_its_score_rise_together() -> None:
    logits = torch.linspace(-10, 10, 41)[None]
    scores = multi_label(logits, torch.zeros(1, 3), torch.ones(41, 3, dtype=torch.bool), words=1)
    assert (scores.diff() > 0).all()
    assert scores[0, 20].item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("label_logits", "background", "rivals", "words"),
    [
        ((2, 3), (2, 4), (2, 4), 1.0),
        ((2, 3), (1, 4), (3, 4), 1.0),
        ((2, 3), (2, 4), (3, 5), 1.0),
        ((2, 3), (2, 4), (3, 4), 0.0),
        ((2, 3), (2, 0), (3, 0), 1.0),
    ],
)
def test_what_does_not_fit(
    label_logits: tuple[int, int], background: tuple[int, int], rivals: tuple[int, int], words: float
) -> None:
    with pytest.raises(InvalidInput):
        multi_label(torch.zeros(label_logits), torch.zeros(background), torch.ones(rivals, dtype=torch.bool), words)
