"""Answers under load are compared with those of the same requests alone; requests are what they say."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from candor.errors import CandorError
from service.bench.answers import Expected, count_wrong, expected
from service.bench.load import Answer
from service.bench.traffic import SIZE, form_body, json_body, labels, pictures


def answer(label: str, confidence: float, body: int = 0, status: int = 200) -> Answer:
    scores = [{"label": "cat", "score": 0.6}, {"label": "dog", "score": 0.4}]
    result = {"label": label, "confidence": confidence, "scores": scores}
    return Answer(body, status, json.dumps({"results": [result]}).encode(), 0.1)


def test_a_right_answer_and_wrong_ones() -> None:
    alone = expected([answer("cat", 0.6)])
    assert alone == {0: Expected(0.6, {"cat": 0.6, "dog": 0.4})}
    assert count_wrong([answer("cat", 0.6), answer("cat", 0.60009)], alone) == 0
    wrong = [answer("dog", 0.6), answer("cat", 0.6002), answer("cow", 0.6), answer("cat", 0.6, status=503)]
    assert [count_wrong([each], alone) for each in wrong] == [1, 1, 1, 1]
    assert count_wrong([*wrong, answer("cat", 0.6)], alone) == 4


def test_a_label_as_probable_is_right_too() -> None:
    tie = Expected(0.50004, {"cat": 0.50004, "dog": 0.49996})
    assert tie.agrees(answer("dog", 0.50001))
    assert not Expected(0.6, {"cat": 0.6, "dog": 0.4}).agrees(answer("dog", 0.6))


def test_a_refused_request_is_no_reference() -> None:
    with pytest.raises(CandorError, match="answers 422: no labels"):
        expected([replace(answer("cat", 0.6, status=422), content=b"no labels")])


def test_pictures_are_photos_of_the_right_size() -> None:
    files = pictures(4)
    assert files == pictures(4)
    assert len(set(files)) == 4
    for file in files:
        image = Image.open(io.BytesIO(file))
        assert (image.format, image.size) == ("JPEG", (SIZE, SIZE))
        assert 14_000 < len(file) < 26_000


def test_labels_are_new_where_numbers_are() -> None:
    assert len(set(labels(5000))) == 5000
    assert set(labels(100)).isdisjoint(labels(100, 100))
    assert labels(3, 99)[1:] == labels(2, 100)
    assert labels(1) == ("red umbrella",)


def test_both_kinds_of_body_are_answered_alike(client: TestClient) -> None:
    image, names = pictures(1)[0], labels(5)
    bodies = [form_body(image, names), json_body(image, names)]
    form, document = (
        client.post("/v1/classify", content=body.content, headers={"content-type": body.content_type}) for body in bodies
    )
    assert form.status_code == document.status_code == 200, form.text
    assert [score["label"] for score in form.json()["results"][0]["scores"]] == [
        score["label"] for score in document.json()["results"][0]["scores"]
    ]
    assert {score["label"] for score in form.json()["results"][0]["scores"]} == set(names)
    few = form_body(image, names, top_k="2")
    answer = client.post("/v1/classify", content=few.content, headers={"content-type": few.content_type})
    assert len(answer.json()["results"][0]["scores"]) == 2
