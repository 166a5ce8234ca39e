"""What a request leaves out comes from its label set; thresholds belong to labels that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from candor.errors import InvalidInput
from service.api.schemas import ClassifyRequest
from service.errors import ApiError
from service.labels.spec import LabelSetSpec
from service.labels.store import LabelSetStore
from service.question import Thresholds, question_of, thresholds_of


@pytest.fixture
def kept(tmp_path: Path) -> LabelSetStore:
    store = LabelSetStore(tmp_path)
    templates = ("a {}.", "the {}")
    store.put("pets", LabelSetSpec(labels=("cat", "dog"), templates=templates, threshold=0.4, thresholds={"cat": 0.7}))
    return store


def test_a_threshold_is_reached_from_its_value_on() -> None:
    thresholds = Thresholds(0.5, {"cat": 0.8})
    assert [thresholds.accepted("cat", score) for score in (0.79, 0.8, 0.81)] == [False, True, True]
    assert [thresholds.accepted("dog", score) for score in (0.49, 0.5)] == [False, True]
    assert Thresholds(None, {"cat": 0.8}).accepted("dog", 1.0) is None
    assert Thresholds(0.0).accepted("dog", 0.0) is True
    assert [bool(t) for t in (Thresholds(), Thresholds(0.0), Thresholds(None, {"cat": 0.0}))] == [False, True, True]


def test_thresholds_find_their_labels_as_answers_name_them() -> None:
    found = thresholds_of(["Red_Umbrella", "cat"], 0.1, {"red  umbrella": 0.9, "CAT": 0.2})
    assert found == Thresholds(0.1, {"Red Umbrella": 0.9, "cat": 0.2})
    with pytest.raises(InvalidInput, match="two thresholds for 'cat'"):
        thresholds_of(["cat"], None, {"cat": 0.1, "Cat": 0.2})
    with pytest.raises(InvalidInput, match=r"'cow0', 'cow1', 'cow2', 'cow3', 'cow4' and 2 more$"):
        thresholds_of(["cat"], None, {f"cow{i}": 0.5 for i in range(7)})


def test_a_kept_label_set_brings_what_the_request_does_not(kept: LabelSetStore) -> None:
    question = question_of(ClassifyRequest(label_set="pets"), kept)
    assert (question.labels, question.templates) == (("cat", "dog"), ("a {}.", "the {}"))
    assert question.thresholds == Thresholds(0.4, {"cat": 0.7})
    own = question_of(ClassifyRequest(label_set="pets", template="{}!", threshold=0, thresholds={"dog": 1}), kept)
    assert (own.templates, own.thresholds) == (("{}!",), Thresholds(0, {"dog": 1}))
    partly = question_of(ClassifyRequest(label_set="pets", threshold=0.9, templates=["x {}", "y {}"]), kept)
    assert (partly.templates, partly.thresholds) == (("x {}", "y {}"), Thresholds(0.9, {"cat": 0.7}))


def test_labels_of_the_request_have_no_thresholds_but_its_own(kept: LabelSetStore) -> None:
    question = question_of(ClassifyRequest(labels=["cat"], top_k=3, open_set=False, multi_label=True), kept)
    assert (question.labels, question.templates, question.thresholds) == (("cat",), None, Thresholds())
    assert (question.top_k, question.open_set, question.multi_label) == (3, False, True)


@pytest.mark.parametrize(
    ("options", "status", "field"),
    [
        ({}, 422, "labels"),
        ({"labels": ["cat"], "label_set": "pets"}, 422, "labels"),
        ({"label_set": "birds"}, 404, "label_set"),
        ({"label_set": "../pets"}, 404, "label_set"),
        ({"labels": ["cat"], "template": "{}", "templates": ["{}"]}, 422, "templates"),
        ({"label_set": "pets", "thresholds": {"cow": 0.5}}, 422, "thresholds"),
    ],
)
def test_contradictions(kept: LabelSetStore, options: dict[str, object], status: int, field: str) -> None:
    with pytest.raises(ApiError) as refused:
        question_of(ClassifyRequest.model_validate(options), kept)
    assert (refused.value.status, refused.value.field) == (status, field)
