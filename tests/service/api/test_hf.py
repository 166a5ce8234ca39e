"""The Hugging Face shape: what its own client sends, and what it makes of the answer."""

from __future__ import annotations

import base64
import json
import logging
from io import BytesIO
from typing import Any

import pytest
from huggingface_hub import ZeroShotImageClassificationOutputElement
from huggingface_hub.inference._providers import get_provider_helper
from PIL import Image
from starlette.testclient import TestClient

URL = "/v1/hf"
LABELS = ["cat", "dog", "anchor"]


def png() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
    return buffer.getvalue()


def sent(candidate_labels: Any, hypothesis_template: str | None = None) -> tuple[bytes, dict[str, str]]:
    """The body and headers of InferenceClient(model=URL).zero_shot_image_classification(...)."""
    address = "http://service.test/v1/hf"
    helper = get_provider_helper("hf-inference", task="zero-shot-image-classification", model=address)
    parameters = {"candidate_labels": candidate_labels, "hypothesis_template": hypothesis_template}
    request = helper.prepare_request(inputs=png(), parameters=parameters, headers={}, model=address, api_key=None)
    assert (request.url, request.json) == (address, None)
    data = request.data
    assert isinstance(data, bytes)
    return bytes(data), {"content-type": str(data.mime_type)}


def classified(client: TestClient, **options: Any) -> list[tuple[str, float]]:
    body = {"image": base64.b64encode(png()).decode()} | options
    scores = client.post("/v1/classify", json=body).json()["results"][0]["scores"]
    return [(score["label"], score["score"]) for score in scores]


def test_its_client_gets_the_calibrated_scores(client: TestClient) -> None:
    content, headers = sent(LABELS)
    response = client.post(URL, content=content, headers=headers)
    assert response.status_code == 200
    found = ZeroShotImageClassificationOutputElement.parse_obj_as_list(response.content)
    assert [(each.label, each.score) for each in found] == classified(client, labels=LABELS)
    assert [list(score) for score in response.json()] == [["score", "label"]] * 3


def test_a_template_and_labels_in_one_string(client: TestClient) -> None:
    content, headers = sent(" cat, dog,anchor ", "This is a photo of {}.")
    found = client.post(URL, content=content, headers=headers).json()
    expected = classified(client, labels=LABELS, template="This is a photo of {}.")
    assert [(score["label"], score["score"]) for score in found] == expected


def test_other_fields_of_its_api_are_ignored_and_a_data_url_is_taken(client: TestClient) -> None:
    content, headers = sent(LABELS)
    body = json.loads(content)
    plain = client.post(URL, content=content, headers=headers).json()
    body |= {"inputs": f"data:image/png;base64,{body['inputs']}", "options": {"wait_for_model": True}}
    assert client.post(URL, json=body).json() == plain


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"inputs": "https://huggingface.co/x.png"}, 422, "inputs"),
        ({"inputs": "http://127.0.0.1:9/x.png"}, 422, "inputs"),
        ({"inputs": "?"}, 422, "inputs"),
        ({"inputs": base64.b64encode(b"hello").decode()}, 415, "inputs"),
        ({"inputs": {"image": "x"}}, 422, "inputs"),
        ({"inputs": None}, 422, "inputs"),
        ({"parameters": {}}, 422, "parameters.candidate_labels"),
        ({"parameters": {"candidate_labels": []}}, 422, "parameters.candidate_labels"),
        ({"parameters": {"candidate_labels": ""}}, 422, "parameters.candidate_labels"),
        ({"parameters": {"candidate_labels": "cat,,dog"}}, 422, "parameters.candidate_labels"),
        ({"parameters": {"candidate_labels": ["cat", "CAT"]}}, 422, "parameters.candidate_labels"),
        ({"parameters": {"candidate_labels": [f"label {i}" for i in range(51)]}}, 413, "parameters.candidate_labels"),
        ({"parameters": {"candidate_labels": LABELS, "hypothesis_template": "x"}}, 422, "parameters.hypothesis_template"),
        ({"parameters": {"candidate_labels": LABELS, "labels": 1}}, 422, "parameters.labels"),
    ],
)
def test_impossible_requests(client: TestClient, change: dict[str, Any], status: int, field: str) -> None:
    body = {"inputs": base64.b64encode(png()).decode(), "parameters": {"candidate_labels": LABELS}} | change
    response = client.post(URL, json=body)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert response.json()["error"]["field"] == field


def test_an_image_without_parameters_is_refused(client: TestClient) -> None:
    response = client.post(URL, content=png(), headers={"content-type": "image/png"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "malformed")


def test_the_artifact_stands_in_a_header_and_in_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "candor.requests")
    content, headers = sent(LABELS)
    response = client.post(URL, content=content, headers=headers)
    assert response.headers["x-candor-artifact"] == "zero-shot"
    (line,) = [vars(record) for record in caplog.records if record.name == "candor.requests"]
    assert (line["artifact"], line["images"], line["labels"]) == ("zero-shot", 1, 3)
    documented = client.get("/v1/openapi.json").json()["paths"][URL]["post"]["responses"]["200"]
    assert documented["headers"]["X-Candor-Artifact"]["schema"] == {"type": "string"}
    assert documented["content"]["application/json"]["schema"]["type"] == "array"
