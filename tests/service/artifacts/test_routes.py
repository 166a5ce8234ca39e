"""`GET /v1/artifacts` and `POST /v1/artifacts/{tag}/activate` as a caller sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from candor.clip import PromptArtifact
from candor.clip.backbone import Backbone
from service.app import create_app
from service.artifacts.loader import serve_classifier
from service.classifier import Classifier
from service.engine import Engine
from service.labels.store import LabelSetStore
from service.metrics import ServiceMetrics
from service.settings import Settings

Save = Callable[..., PromptArtifact]


@pytest.fixture
def client(tiny_clip: Backbone, folder: Path, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(artifacts=folder, max_batch=8, threads=1)
    app = create_app(settings)
    serving = serve_classifier(Classifier(tiny_clip), settings)
    metrics = ServiceMetrics(CollectorRegistry())
    app.state.engine = Engine(settings, serving, metrics, LabelSetStore(tmp_path / "state"))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_the_list_says_what_each_is(client: TestClient, save: Save, folder: Path) -> None:
    evaluation = {"base": {"accuracy": 0.75, "ece": 0.125}, "new": {"accuracy": 0.5, "ece": None}}
    artifact = save("one", seed=7, evaluation=evaluation)
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("[]")
    answer = client.get("/v1/artifacts").json()
    broken, one, zero_shot = answer["artifacts"]
    assert answer["active"] == "zero-shot"
    age = datetime.now(UTC) - datetime.fromisoformat(one.pop("created"))
    assert 0 <= age.total_seconds() < 100
    assert one == {
        "tag": artifact.tag,
        "name": "one",
        "source": "directory",
        "active": False,
        "problem": None,
        "method": "coop+dor",
        "backbone": {"model": "glyph-clip", "pretrained": "random"},
        "base_labels": 2,
        "seed": 7,
        "evaluation": evaluation,
    }
    assert (broken["tag"], broken["name"], broken["active"]) == (None, "broken", False)
    assert broken["problem"] == "broken/prompt.safetensors: expected a file, found nothing"
    assert (zero_shot["tag"], zero_shot["active"], zero_shot["base_labels"]) == ("zero-shot", True, 0)
    assert zero_shot["backbone"] == one["backbone"]


def test_the_active_one_answers_and_is_listed_so(client: TestClient, save: Save) -> None:
    artifact = save("one")
    answer = client.post(f"/v1/artifacts/{artifact.tag}/activate")
    assert answer.status_code == 200
    assert (answer.json()["tag"], answer.json()["active"]) == (artifact.tag, True)
    listed = client.get("/v1/artifacts").json()
    assert listed["active"] == artifact.tag
    assert [a["active"] for a in listed["artifacts"]] == [True, False]


@pytest.mark.parametrize("tag", ["..%2F..%2Fetc", "one%00", "%2e%2e", "x" * 200, "☃", "one two", "zero-shot "])
def test_impossible_tags_are_refused(client: TestClient, tag: str) -> None:
    answer = client.post(f"/v1/artifacts/{tag}/activate")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_a_tag_that_is_too_long_is_refused(client: TestClient) -> None:
    assert client.post(f"/v1/artifacts/{'x' * 201}/activate").status_code == 422


def test_while_it_loads_there_is_nothing_to_list_or_activate() -> None:
    with TestClient(create_app(Settings()), raise_server_exceptions=False) as client:
        for answer in (client.get("/v1/artifacts"), client.post("/v1/artifacts/zero-shot/activate")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
