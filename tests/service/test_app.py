"""The routes: two content types, one error envelope, never a 500 for what a caller sent."""

from __future__ import annotations

import asyncio
import base64
import json
from io import BytesIO
from typing import Any

import pytest
import torch
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator
from PIL import Image
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from candor.clip.backbone import Backbone
from service.labels.spec import LabelSetSpec
from service.refusals import refusals

URL = "/v1/classify"
LOOKUP = "/v1/lookup"
HF = "/v1/hf"
LABELS = ["cat", "dog", "anchor"]


def png(width: int = 40, height: int = 30, colour: str = "red") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def error_of(response: Any) -> tuple[int, str, str | None]:
    body = response.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["code", "message", "field"]
    assert body["error"]["message"]
    return response.status_code, body["error"]["code"], body["error"]["field"]


def test_json_and_multipart_give_the_same_answer(client: TestClient) -> None:
    as_json = client.post(URL, json={"image": b64(png()), "labels": LABELS})
    as_form = client.post(URL, files={"image": ("x.png", png())}, data={"labels": json.dumps(LABELS)})
    as_fields = client.post(URL, files={"image": ("x.png", png())}, data={"labels": LABELS})
    assert as_json.status_code == as_form.status_code == as_fields.status_code == 200
    assert as_json.json() == as_form.json() == as_fields.json()
    result = as_json.json()["results"][0]
    scores = [s["score"] for s in result["scores"]]
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    assert scores == sorted(scores, reverse=True)
    assert (result["label"], result["confidence"]) == (result["scores"][0]["label"], scores[0])
    assert result["label_set"]["size"] == 3
    open_set = result["open_set"]
    assert (open_set["method"], open_set["known"]) == ("neglabel", None)  # nobody fitted a threshold to zero-shot
    assert 0 < open_set["score"] < 1
    assert [list(n) for n in open_set["nearest"]] == [["label", "similarity", "source", "same_as"]] * 5
    assert {n["source"] for n in open_set["nearest"] if n["label"] in LABELS} == {"labels"}


def test_every_option_means_the_same_in_a_form(client: TestClient) -> None:
    options = {
        "labels": LABELS,
        "templates": ["a {}.", "the {}!"],
        "top_k": 2,
        "open_set": False,
        "multi_label": False,
        "threshold": 0.25,
        "thresholds": {"cat": 0.9, "dog": 0},
    }
    as_json = client.post(URL, json={"image": b64(png())} | options)
    fields = {"top_k": "2", "open_set": "false", "multi_label": "False", "threshold": ".25"}
    fields["thresholds"] = json.dumps(options["thresholds"])
    for lists in (
        {"labels": LABELS, "templates": options["templates"]},
        {"labels": json.dumps(LABELS), "templates": json.dumps(options["templates"])},
    ):
        as_form = client.post(URL, files={"image": ("x.png", png())}, data=fields | lists)
        assert as_form.status_code == as_json.status_code == 200
        assert as_form.json() == as_json.json()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"top_k": "many"}, (422, "invalid", "top_k")),
        ({"top_k": ["1", "2"]}, (422, "invalid", "top_k")),
        ({"threshold": "nan"}, (422, "invalid", "threshold")),
        ({"thresholds": "{"}, (400, "malformed", "thresholds")),
        ({"thresholds": "[" * 2000}, (400, "malformed", "thresholds")),
        ({"thresholds": "[" * 30_000}, (413, "too_large", "thresholds")),
        ({"thresholds": '{"cat": NaN}'}, (400, "malformed", "thresholds")),
        ({"thresholds": '{"cat": true}'}, (422, "invalid", "thresholds.cat")),
        ({"thresholds": '{"cat": ' + "9" * 5000 + "}"}, (400, "malformed", "thresholds")),
        ({"thresholds": "[1]"}, (422, "invalid", "thresholds")),
        ({"labels": '["\\ud800"]'}, (400, "malformed", "labels")),
        ({"open_set": "1"}, (422, "invalid", "open_set")),
        ({"templates": "[1]"}, (422, "invalid", "templates.0")),
        ({"surprise": "1"}, (422, "invalid", "surprise")),
    ],
)
def test_impossible_forms(client: TestClient, fields: dict[str, Any], expected: tuple[int, str, str | None]) -> None:
    data = {"labels": LABELS} | fields
    assert error_of(client.post(URL, files={"image": ("x.png", png())}, data=data)) == expected


def test_a_file_in_place_of_text_and_too_many_parts(client: TestClient) -> None:
    files = [("image", ("x.png", png())), ("labels", ("x", b"cat"))]
    assert error_of(client.post(URL, files=files)) == (422, "invalid", "labels")
    assert error_of(client.post(URL, files=files[:1] * 5, data={"labels": LABELS})) == (413, "too_large", None)
    assert error_of(client.post(URL, files=files[:1], data={"labels": ["cat"] * 300})) == (413, "too_large", None)
    assert error_of(client.post(URL, files=files[:1], data={"labels": ["cat"] * 51})) == (413, "too_large", "labels")


def test_one_bad_image_of_several_leaves_its_neighbours_alone(client: TestClient, registry: CollectorRegistry) -> None:
    good = [png(colour="red"), png(colour="blue")]
    images = [b64(good[0]), b64(good[1][:60]), b64(good[1])]
    for url, options in ((URL, {"labels": LABELS}), (LOOKUP, {"k": 3})):
        alone = [client.post(url, json={"image": b64(data)} | options).json()["results"][0] for data in good]
        response = client.post(url, json={"images": images} | options)
        assert response.status_code == 200
        found = response.json()["results"]
        assert [found[0], found[2]] == [approximately(alone[0]), approximately(alone[1])]
        assert list(found[1]) == ["error"]
        assert (found[1]["error"]["code"], found[1]["error"]["field"]) == ("not_an_image", "images.1")
        refused = client.post(url, json={"images": ["?", b64(b"x"), b64(png(2000, 2000))]} | options)
        codes = [(r["error"]["code"], r["error"]["field"]) for r in refused.json()["results"]]
        assert codes == [("invalid", "images.0"), ("not_an_image", "images.1"), ("too_large", "images.2")]
    assert registry.get_sample_value("candor_rejected_total", {"code": "not_an_image"}) == 4


def approximately(result: Any) -> Any:
    """A result whose numbers may differ in their last digits: images of one batch are not computed as one alone."""
    if isinstance(result, dict):
        return {key: approximately(value) for key, value in result.items()}
    if isinstance(result, list):
        return [approximately(value) for value in result]
    return pytest.approx(result, abs=1e-5) if isinstance(result, float) else result


def test_thresholds_say_what_is_accepted(client: TestClient) -> None:
    body: dict[str, Any] = {"image": b64(png()), "labels": LABELS}
    free = client.post(URL, json=body).json()["results"][0]
    label, confidence = free["label"], free["confidence"]
    other = next(name for name in LABELS if name != label)
    assert free["accepted"] is None

    def accepted(**options: Any) -> Any:
        result = client.post(URL, json=body | options).json()["results"][0]
        assert [list(score) for score in result["scores"]] == [["label", "score"]] * 3
        return result["accepted"]

    assert accepted(threshold=confidence - 1e-4) is True
    assert accepted(threshold=confidence + 1e-4) is False
    assert accepted(threshold=1, thresholds={label: 0}) is True
    assert accepted(threshold=0, thresholds={f" {label.upper()}_": 1}) is False
    assert accepted(thresholds={other: 0.5}) is None
    assert accepted(threshold=0, thresholds={other: 1}) is True


def test_multi_label_scores_each_label_by_itself(client: TestClient, registry: CollectorRegistry) -> None:
    body: dict[str, Any] = {"image": b64(png()), "labels": LABELS, "multi_label": True}
    free = client.post(URL, json=body).json()["results"][0]
    scores = {score["label"]: score["score"] for score in free["scores"]}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert all(0 < score < 1 for score in scores.values())
    assert sum(scores.values()) != pytest.approx(1, abs=1e-3)
    assert (free["label"], free["confidence"]) == next(iter(scores.items()))
    assert [list(score) for score in free["scores"]] == [["label", "score"]] * 3
    assert free["accepted"] is None
    last = list(scores)[-1]
    judged = client.post(URL, json=body | {"thresholds": {last: 0, free["label"]: 1}}).json()["results"][0]
    assert [score.get("accepted") for score in judged["scores"]] == [False, None, True]
    assert "accepted" not in judged["scores"][1]
    assert judged["accepted"] is False
    assert client.post(URL, json=body | {"threshold": 0, "top_k": 1}).json()["results"][0]["scores"] == [
        {"label": free["label"], "score": pytest.approx(free["confidence"]), "accepted": True}
    ]
    new = {"artifact": "zero-shot", "scope": "new"}
    assert registry.get_sample_value("candor_confidence_count", new) == 0
    assert registry.get_sample_value("candor_predictions_total", new | {"known": "unscored"}) == 3
    assert registry.get_sample_value("candor_open_set_score_count", {"artifact": "zero-shot", "method": "neglabel"}) == 0


def test_multi_label_needs_a_vocabulary(without_vocabulary: TestClient) -> None:
    response = without_vocabulary.post(URL, json={"image": b64(png()), "labels": LABELS, "multi_label": True})
    assert error_of(response) == (422, "invalid", "multi_label")


def test_a_kept_label_set_is_used_by_name(client: TestClient, app: FastAPI) -> None:
    spec = LabelSetSpec(labels=tuple(LABELS), templates=("a {}.", "the {}"), threshold=0.0, thresholds={"cat": 1.0})
    app.state.engine.label_sets.put("pets", spec)
    by_name = client.post(URL, json={"image": b64(png()), "label_set": "pets"}).json()
    body = {
        "image": b64(png()),
        "labels": LABELS,
        "templates": ["a {}.", "the {}"],
        "threshold": 0,
        "thresholds": {"cat": 1},
    }
    assert by_name == client.post(URL, json=body).json()
    in_form = client.post(URL, files={"image": ("x.png", png())}, data={"label_set": "pets"})
    assert in_form.json() == by_name
    unknown = client.post(URL, json={"image": b64(png()), "label_set": "birds"})
    assert error_of(unknown) == (404, "not_found", "label_set")


def test_several_templates_are_averaged(client: TestClient, tiny_clip: Backbone) -> None:
    templates = ["a drawing of a {}.", "{}!"]
    result = client.post(URL, json={"image": b64(png()), "labels": LABELS, "templates": templates}).json()["results"][0]
    text = [tiny_clip.encode_text([t.replace("{}", label) for label in LABELS]).double() for t in templates]
    mean = torch.nn.functional.normalize(text[0] + text[1], dim=1)
    image = tiny_clip.encode_images([Image.new("RGB", (40, 30), "red")]).double()
    expected = (tiny_clip.logit_scale * image @ mean.T).softmax(dim=1)[0].tolist()
    found = {score["label"]: score["score"] for score in result["scores"]}
    assert [found[label] for label in LABELS] == pytest.approx(expected, abs=1e-4)


def test_base64_may_be_broken_into_lines_or_be_a_data_url(client: TestClient) -> None:
    plain = client.post(LOOKUP, json={"image": b64(png())}).json()
    lines = base64.encodebytes(png()).decode()
    assert lines.count("\n") > 1
    assert client.post(LOOKUP, json={"image": lines}).json() == plain
    assert client.post(LOOKUP, json={"image": f"data:image/png;base64,{b64(png())}"}).json() == plain


def test_numbers_beyond_any_size_are_taken_or_refused(client: TestClient) -> None:
    body = {"image": b64(png()), "labels": LABELS}
    every = client.post(URL, json=body | {"top_k": 3}).json()
    for top_k in ("1" + "0" * 30, "3.0"):
        content = json.dumps(body)[:-1] + f', "top_k": {top_k}}}'
        assert client.post(URL, content=content, headers={"content-type": "application/json"}).json() == every
    twice = json.dumps(body)[:-1] + ', "top_k": 1, "top_k": 3}'  # the last one counts, as everywhere in Python
    assert client.post(URL, content=twice, headers={"content-type": "application/json"}).json() == every


def test_messages_name_what_came_but_never_an_image(client: TestClient) -> None:
    def message(**body: Any) -> str:
        return str(client.post(URL, json={"image": b64(png()), "labels": LABELS} | body).json()["error"]["message"])

    assert message(top_k=-3) == "input should be greater than or equal to 1, not -3"
    assert message(threshold="high") == "input should be a valid number, not 'high'"
    assert message(threshold=[0.5]) == "input should be a valid number, not a list of 1"
    assert message(template="x" * 600).endswith(f"not {'x' * 60!r}...")
    assert message(labels=["a"] * 3, thresholds={"cow": 1, "b": 0}).endswith("not among the labels: 'cow', 'b'")
    assert message(surprise=1).startswith("no such field; there are image, images, labels")
    assert b64(png())[:20] not in message(images=b64(png()))


def test_without_a_vocabulary_the_score_is_mcm(without_vocabulary: TestClient) -> None:
    body = {"image": b64(png()), "labels": LABELS}
    open_set = without_vocabulary.post(URL, json=body).json()["results"][0]["open_set"]
    assert (open_set["method"], open_set["known"], open_set["nearest"]) == ("mcm", None, [])
    assert 1 / 3 < open_set["score"] < 1


def test_options(client: TestClient) -> None:
    body = {"images": [b64(png()), b64(png(colour="blue"))], "labels": LABELS, "top_k": 2, "open_set": False}
    results = client.post(URL, json=body | {"template": "a {}"}).json()["results"]
    assert [len(r["scores"]) for r in results] == [2, 2]
    assert [r["open_set"] for r in results] == [None, None]
    one = client.post(URL, json={"image": b64(png()), "labels": ["cat"]}).json()["results"][0]
    assert (one["confidence"], one["label_set"]["divergence"]) == (1.0, None)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"labels": LABELS}, (422, "invalid", "image")),
        ({"image": "?", "labels": LABELS}, (422, "invalid", "image")),
        ({"image": b64(b"hello"), "labels": LABELS}, (415, "not_an_image", "image")),
        ({"image": b64(png()[:60]), "labels": LABELS}, (415, "not_an_image", "image")),
        ({"images": [b64(b"x")], "labels": LABELS}, (415, "not_an_image", "images.0")),
        ({"image": "http://127.0.0.1:9/x.png", "labels": LABELS}, (422, "invalid", "image")),
        ({"image": "data:image/png,x", "labels": LABELS}, (422, "invalid", "image")),
        ({"image": b64(png(2000, 2000)), "labels": LABELS}, (413, "too_large", "image")),
        ({"images": [b64(png())] * 4, "labels": LABELS}, (413, "too_large", "images")),
        ({"image": b64(png()), "images": [b64(png())], "labels": LABELS}, (422, "invalid", "images")),
        ({"image": b64(png())}, (422, "invalid", "labels")),
        ({"image": b64(png()), "labels": []}, (422, "invalid", "labels")),
        ({"image": b64(png()), "labels": "cat"}, (422, "invalid", "labels")),
        ({"image": b64(png()), "labels": ["cat", "Cat"]}, (422, "invalid", "labels")),
        ({"image": b64(png()), "labels": ["cat", " "]}, (422, "invalid", "labels")),
        ({"image": b64(png()), "labels": ["cat", "x " * 200]}, (422, "invalid", "labels")),
        ({"image": b64(png()), "labels": LABELS, "template": "<end_of_text> {}"}, (422, "invalid", "template")),
        ({"image": b64(png()), "labels": ["cat", 3]}, (422, "invalid", "labels.1")),
        ({"image": b64(png()), "labels": [f"label {i}" for i in range(51)]}, (413, "too_large", "labels")),
        ({"image": b64(png()), "labels": LABELS, "template": "no place"}, (422, "invalid", "template")),
        ({"image": b64(png()), "labels": LABELS, "top_k": 0}, (422, "invalid", "top_k")),
        ({"image": b64(png()), "labels": LABELS, "surprise": 1}, (422, "invalid", "surprise")),
        ({"image": b64(png()), "labels": LABELS, "top_k": True}, (422, "invalid", "top_k")),
        ({"image": b64(png()), "labels": LABELS, "top_k": "2"}, (422, "invalid", "top_k")),
        ({"image": b64(png()), "labels": LABELS, "open_set": 1}, (422, "invalid", "open_set")),
        ({"image": b64(png()), "labels": LABELS, "threshold": 1.01}, (422, "invalid", "threshold")),
        ({"image": b64(png()), "labels": LABELS, "threshold": True}, (422, "invalid", "threshold")),
        ({"image": b64(png()), "labels": LABELS, "threshold": float("nan")}, (422, "invalid", "threshold")),
        ({"image": b64(png()), "labels": LABELS, "threshold": float("inf")}, (422, "invalid", "threshold")),
        ({"image": b64(png()), "labels": LABELS, "thresholds": {"cat": -0.1}}, (422, "invalid", "thresholds.cat")),
        ({"image": b64(png()), "labels": LABELS, "thresholds": {"cow": 0.5}}, (422, "invalid", "thresholds")),
        ({"image": b64(png()), "labels": LABELS, "label_set": "pets"}, (422, "invalid", "labels")),
        ({"image": b64(png()), "labels": LABELS, "template": "{}", "templates": ["{}"]}, (422, "invalid", "templates")),
        ({"image": b64(png()), "labels": LABELS, "templates": []}, (422, "invalid", "templates")),
        ({"image": b64(png()), "labels": LABELS, "templates": ["a {}", "a"]}, (422, "invalid", "templates")),
        ([1, 2], (422, "invalid", None)),
    ],
)
def test_impossible_requests(client: TestClient, body: Any, expected: tuple[int, str, str | None]) -> None:
    content = json.dumps(body)  # with NaN and Infinity, which httpx would not send
    assert error_of(client.post(URL, content=content, headers={"content-type": "application/json"})) == expected


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"labels":' + b"[" * 50_000, "application/json"),
        (b'{"top_k":' + b"9" * 10_000 + b"}", "application/json"),
        (b"\xff", "application/json"),
        (b"cat", "text/plain"),
        (b"--x", "multipart/form-data"),
        (b"", "multipart/form-data; boundary=x"),
        (b"junk", "multipart/form-data; boundary=x"),
    ],
)
def test_bodies_that_cannot_be_read(client: TestClient, content: bytes, kind: str) -> None:
    response = client.post(URL, content=content, headers={"content-type": kind})
    assert error_of(response)[0] in (400, 413, 422)


@pytest.mark.parametrize(
    "value", ['{"labels": [%s]}', '{"images": [%s]}', '{"x": [%s]}', '{"thresholds": {%s}}', "[%s]", '{"x": [[[%s]]]}']
)
def test_millions_of_wrong_values_cost_nothing(client: TestClient, value: str) -> None:
    many = ",".join(f'"{i}": 9' for i in range(15_000)) if "{%s}" in value else "1," * 80_000 + "1"
    response = client.post(URL, content=value % many, headers={"content-type": "application/json"})
    assert error_of(response) == (413, "too_large", None)


def test_a_lone_surrogate_is_refused(client: TestClient) -> None:
    body = json.dumps({"image": b64(png()), "labels": ["cat"]}).replace("cat", "\\ud800")
    assert error_of(client.post(URL, content=body, headers={"content-type": "application/json"}))[:2] == (400, "malformed")


def test_an_address_in_place_of_a_file_is_not_fetched(client: TestClient) -> None:
    data = {"image": "http://127.0.0.1:9/x.png", "labels": '["cat"]'}
    response = client.post(URL, data=data, files={"other": ("x", b"x")})
    assert error_of(response) == (422, "invalid", "image")
    assert error_of(client.post(URL, files={"image": ("x.png", png())}, data={"labels": "[1"}))[0] == 400


def test_a_body_over_the_limit_is_refused_announced_or_not(client: TestClient) -> None:
    big = b"x" * 300_000
    headers = {"content-type": "application/json"}
    assert error_of(client.post(URL, content=big, headers=headers)) == (413, "too_large", None)
    assert error_of(client.post(URL, content=iter([big]), headers=headers)) == (413, "too_large", None)


def test_unknown_routes_and_methods_have_the_envelope(client: TestClient) -> None:
    assert error_of(client.get("/v1/nope")) == (404, "not_found", None)
    assert error_of(client.get(URL)) == (405, "method_not_allowed", None)


def test_a_slash_too_many_or_too_few_is_another_path_and_leads_nowhere(client: TestClient) -> None:
    for path in ("/v1", "/v1/", "/metrics/", "/v1/docs/", "/v1/docs-files", f"{URL}/", "/v1/artifacts/", "/v1/label_sets/"):
        assert (path, client.get(path, follow_redirects=False).status_code) == (path, 404)


def test_refusals_are_counted_in_the_event_loop(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[tuple[str, bool]] = []

    def count(code: str) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            threads.append((code, False))
        else:
            threads.append((code, True))

    monkeypatch.setattr(refusals, "count", count)
    client.get("/v1/nope")
    client.post(URL, json={})
    assert {code for code, _ in threads} == {"not_found", "invalid"}
    assert [in_loop for _, in_loop in threads] == [True] * len(threads)


def test_metrics_count_answers_by_scope_and_refusals_by_code(client: TestClient, registry: CollectorRegistry) -> None:
    counted = [
        {"artifact": "zero-shot", "scope": s, "known": k} for s in ("base", "new") for k in ("true", "false", "unscored")
    ]
    for labels in counted:  # there from the start
        assert registry.get_sample_value("candor_predictions_total", labels) == 0
    answer = client.post(URL, json={"images": [b64(png())] * 2, "labels": LABELS}).json()
    client.post(URL, json={"labels": LABELS})
    labels = {"artifact": "zero-shot", "scope": "new", "known": "unscored"}
    assert registry.get_sample_value("candor_predictions_total", labels) == 2
    new = {"artifact": "zero-shot", "scope": "new"}
    total = sum(r["confidence"] for r in answer["results"])
    assert registry.get_sample_value("candor_confidence_sum", new) == pytest.approx(total)
    assert registry.get_sample_value("candor_confidence_bucket", new | {"le": "1.0"}) == 2
    assert registry.get_sample_value("candor_rejected_total", {"code": "invalid"}) == 1
    method = {"artifact": "zero-shot", "method": "neglabel"}
    scored = sum(r["open_set"]["score"] for r in answer["results"])
    assert registry.get_sample_value("candor_open_set_score_sum", method) == pytest.approx(scored)
    client.post(URL, json={"image": b64(png()), "labels": LABELS, "open_set": False})
    assert registry.get_sample_value("candor_predictions_total", labels) == 3
    assert registry.get_sample_value("candor_open_set_score_count", method) == 2


def test_a_service_that_is_still_loading_says_so(client: TestClient, app: FastAPI) -> None:
    app.state.engine = None
    response = client.post(URL, json={"image": b64(png()), "labels": LABELS})
    assert error_of(response) == (503, "unavailable", None)
    assert response.headers["retry-after"] == "5"


def closed(document: Any) -> Any:
    """An OpenAPI document whose objects have no other fields than those that it names."""
    if isinstance(document, list):
        return [closed(part) for part in document]
    if not isinstance(document, dict):
        return document
    parts = {key: closed(part) for key, part in document.items()}
    if document.get("type") == "object" and "properties" in document:
        parts.setdefault("additionalProperties", False)
    return parts


def test_bodies_are_what_the_openapi_document_says(client: TestClient) -> None:
    document = closed(client.get("/v1/openapi.json").json())
    bad, one = b64(b"x"), {"image": b64(png())}
    several = {"images": [b64(png()), bad]}
    parameters = {"parameters": {"candidate_labels": LABELS}}
    requests: list[tuple[str, Any]] = [
        (URL, one | {"labels": LABELS}),
        (URL, one | {"labels": ["cat"], "open_set": False, "threshold": 0.5}),
        (URL, several | {"labels": LABELS, "thresholds": {"cat": 0.2}}),
        (URL, several | {"labels": LABELS, "multi_label": True, "thresholds": {"cat": 0.2}}),
        (URL, {"image": bad, "labels": LABELS}),
        (LOOKUP, one),
        (LOOKUP, several),
        (HF, {"inputs": b64(png())} | parameters),
        (HF, {"inputs": bad} | parameters),
    ]
    for url, body in requests:
        response = client.post(url, json=body)
        described = document["paths"][url]["post"]["responses"][str(response.status_code)]
        schema = described["content"]["application/json"]["schema"]
        check = Draft202012Validator({"allOf": [schema], "components": document["components"]})
        assert [str(error) for error in check.iter_errors(response.json())] == []
        assert not check.is_valid({"results": []})
        if response.status_code == 200 and url != HF:  # a field too many would show
            spoiled = response.json()
            spoiled["results"][0]["surprise"] = 1
            assert not check.is_valid(spoiled)


def test_lookup_finds_words_with_what_is_known_of_them(client: TestClient) -> None:
    as_json = client.post(LOOKUP, json={"images": [b64(png()), b64(png(colour="blue"))], "k": 4})
    files = [("image", ("x.png", png())), ("image", ("y.png", png(colour="blue")))]
    as_form = client.post(LOOKUP, files=files, data={"k": "4"})
    assert as_json.status_code == as_form.status_code == 200
    assert as_json.json() == as_form.json()
    assert as_json.json()["vocabulary"] == "x"
    for result in as_json.json()["results"]:
        words = result["nearest"]
        assert len({w["label"] for w in words}) == len(words) == 4
        assert [w["similarity"] for w in words] == sorted((w["similarity"] for w in words), reverse=True)
        assert all(w["metadata"] == {"gloss": f"a {w['label']}"} for w in words)
    everything = client.post(LOOKUP, json={"image": b64(png())}).json()["results"][0]["nearest"]
    assert len(everything) == 6  # all that there are; 10 were asked for


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (422, "invalid", "image")),
        ({"image": b64(png()), "k": 0}, (422, "invalid", "k")),
        ({"image": b64(png()), "k": 101}, (422, "invalid", "k")),
        ({"image": b64(png()), "k": "many"}, (422, "invalid", "k")),
        ({"image": b64(png()), "labels": LABELS}, (422, "invalid", "labels")),
        ({"images": [b64(png())] * 4}, (413, "too_large", "images")),
        ({"images": [b64(b"x")]}, (415, "not_an_image", "images.0")),
    ],
)
def test_impossible_lookups(client: TestClient, body: Any, expected: tuple[int, str, str | None]) -> None:
    assert error_of(client.post(LOOKUP, json=body)) == expected


def test_a_lookup_without_a_vocabulary_is_not_found(without_vocabulary: TestClient) -> None:
    response = without_vocabulary.post(LOOKUP, json={"image": b64(png())})
    assert error_of(response) == (404, "not_found", None)
    assert "--index" in response.json()["error"]["message"]


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["cat", "dog", "x"]), inner, max_size=2),
    max_leaves=8,
)
FIELDS = ["image", "images", "labels", "label_set", "template", "templates", "top_k", "open_set", "multi_label"]
FIELDS += ["threshold", "thresholds", "k", "x", "inputs", "parameters"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([URL, LOOKUP, HF]), st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_no_json_makes_a_500(client: TestClient, url: str, body: dict[str, Any]) -> None:
    if url == HF:
        body.setdefault("inputs", b64(png()))
    else:
        body.setdefault("image", b64(png()))
    content = json.dumps(body)
    response = client.post(url, content=content, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400, 404, 413, 415, 422)
    assert response.status_code == 200 or error_of(response)
