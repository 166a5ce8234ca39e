from __future__ import annotations

import math

import pytest
import torch

from training.evaluation import evaluate


def test_figures_by_hand() -> None:
    text = torch.eye(2)
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    result = evaluate(images, torch.tensor([0, 1, 0]), text, text, logit_scale=math.log(3))
    # every image: logits (ln 3, 0), softmax (0.75, 0.25); two of three right
    figures = result.figures()
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["confidence"] == pytest.approx(0.75)
    assert figures["ece"] == pytest.approx(0.75 - 2 / 3)
    assert figures["gap"] == pytest.approx(0.75 - 2 / 3)
    assert figures["fd"] == pytest.approx(math.sqrt(2))
    assert figures["text_deviation"] == pytest.approx(0)
    reference = result.reference()
    assert sum(reference.confidence_histogram) == 3
    assert len(reference.confidence_histogram) == 20
    assert reference.reliability.correct == [0, 0, 0, 0, 0, 0, 0, 2, 0, 0]
