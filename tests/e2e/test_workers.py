"""A replica of two workers: what they share, what one of them does alone, and what the death of one leaves."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import psutil
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families

from candor.calibration import TemperatureCalibrator
from candor.clip import ContextLearner, LearnerConfig, save_artifact
from candor.clip.artifact import BackboneRef
from candor.clip.backbone import Backbone
from cli.server import running_service
from glyph_world.render import Scene, render
from tests.workers import asked, only, workers_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LABELS = ["red umbrella", "blue anchor", "moon"]


def picture() -> bytes:
    buffer = BytesIO()
    render(Scene("umbrella", "red", "drawing", 3)).save(buffer, "PNG")
    return buffer.getvalue()


def saved(path: Path, backbone: Backbone, seed: int) -> str:
    """The tag of an artifact that answers unlike another one."""
    torch.manual_seed(seed)
    learner = ContextLearner.create(LearnerConfig(n_ctx=4), backbone, ())
    learner.ctx.data.add_(3 * torch.randn_like(learner.ctx))
    return save_artifact(
        path,
        learner,
        backbone=BackboneRef.of(backbone),
        seed=seed,
        calibrator=TemperatureCalibrator(temperature=30.0),
        method="coop",
        regularizers={},
        base_classnames=("blue anchor", "moon"),
        template="a {}.",
    ).tag


@pytest.fixture(scope="module")
def tags(tmp_path_factory: pytest.TempPathFactory, glyph_clip: Backbone) -> tuple[Path, str, str]:
    root = tmp_path_factory.mktemp("artifacts")
    return root, saved(root / "one", glyph_clip, 1), saved(root / "two", glyph_clip, 2)


@pytest.fixture(scope="module")
def url(tags: tuple[Path, str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("two-workers")
    environment = {"CANDOR_WORKERS": "2", "CANDOR_ARTIFACTS": str(tags[0]), "CANDOR_STATE": str(home / "state")}
    with running_service(tags[0] / "one", None, home / "log", environment=environment) as running:
        deadline = time.monotonic() + 60
        while (home / "log").read_text().count('"ready"') < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert (home / "log").read_text().count('"ready"') == 2
        yield running


def classified(url: str, worker: psutil.Process) -> dict[str, object]:
    files = {"image": ("x.png", picture())}
    data = {"labels": json.dumps(LABELS), "open_set": "false"}
    response = asked(url, worker, "POST", "/v1/classify", files=files, data=data)
    assert response.status_code == 200, response.text
    answer: dict[str, object] = response.json()
    return answer


def predictions(url: str, worker: psutil.Process) -> dict[str, float]:
    """By artifact, as one worker exposes them."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(asked(url, worker, "GET", "/metrics").text):
        for sample in family.samples:
            if sample.name == "candor_predictions_total":
                tag = sample.labels["artifact"]
                found[tag] = found.get(tag, 0) + sample.value
    return found


def test_label_sets_and_counts_are_those_of_the_replica(url: str, tags: tuple[Path, str, str]) -> None:
    one, other = workers_of(url)
    for turn in range(3):
        put = asked(url, one, "PUT", "/v1/label_sets/shop", json={"labels": [*LABELS, f"sign {turn}"]})
        assert put.status_code == (200 if turn else 201)
        assert asked(url, other, "GET", "/v1/label_sets/shop").json()["labels"] == [*LABELS, f"sign {turn}"]
    assert asked(url, other, "DELETE", "/v1/label_sets/shop").status_code == 204
    assert asked(url, one, "GET", "/v1/label_sets").json() == {"label_sets": []}
    before = predictions(url, one)
    for worker, times in ((one, 3), (other, 4)):
        for _ in range(times):
            classified(url, worker)
    for worker in (one, other):
        assert predictions(url, worker) == before | {tags[1]: before[tags[1]] + 7}


def test_both_follow_an_activation_and_every_answer_names_its_artifact(url: str, tags: tuple[Path, str, str]) -> None:
    one, other = workers_of(url)
    _, first, second = tags
    confidences = {}
    for worker, wanted in ((one, second), (other, "zero-shot"), (other, first)):
        activated = asked(url, worker, "POST", f"/v1/artifacts/{wanted}/activate")
        assert (activated.status_code, activated.json()["active"]) == (200, True)
        assert asked(url, worker, "GET", "/v1/artifacts").json()["active"] == wanted
        follower = other if worker is one else one
        deadline = time.monotonic() + 30
        while asked(url, follower, "GET", "/v1/artifacts").json()["active"] != wanted:
            assert time.monotonic() < deadline, f"it does not follow to {wanted}"
            time.sleep(0.2)
        answers = [classified(url, each) for each in (worker, follower)]
        assert [answer["artifact"] for answer in answers] == [wanted, wanted]
        mine, theirs = (answer["results"][0]["confidence"] for answer in answers)  # type: ignore[index]
        assert mine == theirs
        confidences[wanted] = mine
    assert len(set(confidences.values())) == 3  # else a wrong name would not show


def test_one_that_ends_by_itself_or_is_killed_leaves_the_other_answering(url: str, tags: tuple[Path, str, str]) -> None:
    one, other = workers_of(url)
    before = predictions(url, other)
    with httpx.Client(base_url=url, timeout=60) as client:
        with only(other, [one, other]):
            assert client.get("/readyz").status_code == 200
        classified(url, one)
        os.kill(one.pid, signal.SIGKILL)
        for _ in range(20):  # on the connection to the other, and on new ones
            assert client.get("/readyz").status_code == 200
            assert httpx.get(f"{url}/readyz", timeout=60).status_code == 200
    assert workers_of(url) == [other]
    assert predictions(url, other) == before | {tags[1]: before[tags[1]] + 1}  # what the dead one had counted stays
