"""Answers as plain data: the order of scores, what is accepted, and JSON whatever a vocabulary knows of its words."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.api.answers import classify_results, hugging_face_results, ranked, to_json
from service.classifier import Prediction
from service.label_set import LabelSet
from service.question import Question, Thresholds

LABELS = ("cat", "dog", "sun", "moon")
SCORES = (0.125, 0.5, 0.125, 0.25)


def label_set(labels: tuple[str, ...] = LABELS, divergence: float = 0.5) -> LabelSet:
    features = torch.zeros(len(labels), 2)
    return LabelSet(labels, None, ("new",) * len(labels), features, features, 0.25, divergence, torch.ones(len(labels)))


def one(question: Question, divergence: float = 0.5) -> Any:
    prediction = Prediction("dog", "new", 0.5, SCORES)
    return classify_results([prediction], label_set(divergence=divergence), question, "mcm", ["receipt"])[0]


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 1e-12]), min_size=1, max_size=40), st.none() | st.integers(1, 10**30))
def test_scores_are_ranked_as_python_sorts_them(scores: list[float], most: int | None) -> None:
    labels = [f"label {i}" for i in range(len(scores))]
    expected = sorted(zip(labels, scores, strict=True), key=lambda pair: -pair[1])  # stable, so equal ones stay in order
    assert list(ranked(labels, scores, most)) == expected[:most]


def test_a_result() -> None:
    assert one(Question(LABELS)) == {
        "prediction_id": "receipt",
        "label": "dog",
        "scope": "new",
        "confidence": 0.5,
        "accepted": None,
        "scores": [
            {"label": "dog", "score": 0.5},
            {"label": "moon", "score": 0.25},
            {"label": "cat", "score": 0.125},
            {"label": "sun", "score": 0.125},
        ],
        "open_set": None,
        "label_set": {"size": 4, "text_deviation": 0.25, "divergence": 0.5},
    }
    assert one(Question(LABELS), divergence=math.nan)["label_set"]["divergence"] is None


def test_scores_say_what_is_accepted_only_with_multi_label_and_where_there_is_a_threshold() -> None:
    some = Thresholds(None, {"cat": 0.1, "moon": 0.5})
    result = one(Question(LABELS, thresholds=some, multi_label=True, top_k=3))
    assert result["accepted"] is None  # the best label has no threshold
    assert result["scores"] == [
        {"label": "dog", "score": 0.5},
        {"label": "moon", "score": 0.25, "accepted": False},
        {"label": "cat", "score": 0.125, "accepted": True},
    ]
    everywhere = one(Question(LABELS, thresholds=Thresholds(0.2, {"dog": 0.6}), multi_label=True))
    assert [score["accepted"] for score in everywhere["scores"]] == [False, True, False, False]
    assert everywhere["accepted"] is False
    alone = one(Question(LABELS, thresholds=Thresholds(0.2)))
    assert alone["accepted"] is True
    assert [list(score) for score in alone["scores"]] == [["label", "score"]] * 4


def test_the_hugging_face_shape() -> None:
    found = hugging_face_results([Prediction("dog", "new", 0.5, SCORES)], label_set(), Question(LABELS), "mcm")
    assert found == [[{"score": s, "label": w} for s, w in ((0.5, "dog"), (0.25, "moon"), (0.125, "cat"), (0.125, "sun"))]]


def test_json_of_whatever_a_vocabulary_knows() -> None:
    body = {"score": 0.1, "gloss": "größer \U0001f600", "big": 2**70, "half": "\ud800", "list": [None, True]}
    assert json.loads(to_json(body)) == body
    assert to_json({"score": 0.1, "word": "ß"}) == '{"score":0.1,"word":"ß"}'.encode()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_null(number: float) -> None:
    assert json.loads(to_json({"score": number})) == {"score": None}
