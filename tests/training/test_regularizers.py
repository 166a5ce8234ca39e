"""Each term against a slow loop in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from candor.clip.backbone import Backbone
from candor.clip.prompt_tokens import TokenizedNames, tokenize_names
from candor.errors import InvalidInput
from training.methods import METHODS, method_weights
from training.regularizers import DynamicOutlierRegularization, KgCoOp, StepOutput
from vocab_index.outliers import OutlierSampler


def unit(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


def cosine_loop(a: torch.Tensor, b: torch.Tensor) -> float:
    terms = [math.fsum(x * y for x, y in zip(p, q, strict=True)) for p, q in zip(a.tolist(), b.tolist(), strict=True)]
    return 1 - math.fsum(terms) / len(terms)


def step(text: torch.Tensor, zero_shot: torch.Tensor, encode_names=None, number: int = 0) -> StepOutput:
    batch = torch.zeros(1, text.shape[1]), torch.zeros(1, len(text)), torch.zeros(1, dtype=torch.int64)
    return StepOutput(batch[0], text, zero_shot, *batch[1:], encode_names, number)


def test_kgcoop_is_one_minus_the_mean_cosine() -> None:
    text, zero_shot = unit(7, 5), unit(7, 5)
    assert KgCoOp()(step(text, zero_shot)).item() == pytest.approx(cosine_loop(text, zero_shot), abs=1e-6)
    assert KgCoOp()(step(text, text)).item() == pytest.approx(0, abs=1e-6)


def test_dor_holds_the_outliers_of_this_step_and_not_the_classes(tiny_clip: Backbone) -> None:
    words = [f"word {letter}" for letter in "abcdefgh"]
    names = tokenize_names(tiny_clip, words, 4)
    tuned = dict(zip(words, unit(8, 5), strict=True))
    zero_shot = unit(8, 5)
    asked: list[tuple[str, ...]] = []

    def encode_names(chosen: TokenizedNames) -> torch.Tensor:
        asked.append(chosen.names)
        return torch.stack([tuned[name] for name in chosen.names])

    dor = DynamicOutlierRegularization(names, zero_shot, OutlierSampler(8, batch_size=3, seed=5))
    for number in range(20):
        value = dor(step(unit(2, 5), unit(2, 5), encode_names, number)).item()
        rows = [words.index(name) for name in asked[-1]]
        expected = cosine_loop(torch.stack([tuned[words[r]] for r in rows]), zero_shot[rows])
        assert value == pytest.approx(expected, abs=1e-6)
        assert len(set(rows)) == 3
    assert set().union(*asked) == set(words)  # a fresh draw each step reaches all
    assert len(set(asked)) > 10


def test_dor_uses_all_outliers_where_there_are_few(tiny_clip: Backbone) -> None:
    names = tokenize_names(tiny_clip, ["a", "b"], 4)
    dor = DynamicOutlierRegularization(names, unit(2, 5), OutlierSampler(2, batch_size=100, seed=0))
    assert 0 <= dor(step(unit(2, 5), unit(2, 5), lambda chosen: unit(len(chosen), 5))).item() <= 2
    for features, count in ((3, 2), (2, 3)):
        with pytest.raises(InvalidInput, match=f"2 outliers but {features} zero-shot features and a sampler over {count}"):
            DynamicOutlierRegularization(names, unit(features, 5), OutlierSampler(count, 1, 0))


def test_methods_carry_the_published_weights() -> None:
    assert [method_weights(method, {}) for method in METHODS] == [
        {},
        {"kgcoop": 8.0},
        {"dor": 8.0},
        {"kgcoop": 8.0, "dor": 2.0},
    ]
    assert method_weights("coop+kgcoop", {}) == {"kgcoop": 8.0}
    assert method_weights("coop+dor", {"dor": 1.0}) == {"dor": 1.0}
    with pytest.raises(InvalidInput, match="unknown method 'coco'; valid: coop"):
        method_weights("coco", {})
    for wrong in ("kgcoop+coop", "dor+dor", "coop+", ""):
        with pytest.raises(InvalidInput, match="unknown method"):
            method_weights(wrong, {})
    with pytest.raises(InvalidInput, match="no regulariser dor"):
        method_weights("coop", {"dor": 1.0})
