"""GET /v1/calibration against numpy on the events themselves."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from scipy import stats
from starlette.testclient import TestClient

from candor.clip.artifact import ArtifactConfig, Bins, Reference
from candor.clip.backbone import Backbone
from service.api.calibration import seconds_of
from service.app import create_app
from service.artifacts.loader import serve_classifier
from service.classifier import Classifier, Prediction
from service.engine import Engine
from service.errors import ApiError
from service.feedback.receipt import Receipt
from service.feedback.service import FeedbackService
from service.feedback.store import Feedback, FeedbackStore
from service.feedback.totals import FeedbackCollector
from service.label_set import LabelSet
from service.metrics import ServiceMetrics
from service.open_set import OpenSetAnswer
from service.settings import Settings

Document = dict[str, Any]
TAG = "zero-shot"
NOW = 2_000_000.0
EDGES = np.arange(21) / 20


def binned(values: np.ndarray, bins: int = 20) -> np.ndarray:
    """The bin of each, right edge closed, by a loop."""
    return np.array([next(b for b in range(bins) if v <= (b + 1) / bins) for v in values])


@dataclass
class World:
    """A service with events: what was answered, and what labels came back."""

    client: TestClient
    engine: Engine
    confidence: np.ndarray
    correct: np.ndarray
    reference: np.ndarray

    def get(self, **parameters: object) -> Document:
        response = self.client.get("/v1/calibration", params=cast(Any, parameters))
        assert response.status_code == 200, response.text
        return dict(response.json())


@pytest.fixture
def world(tmp_path: Path, tiny_clip: Backbone, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    rng = np.random.default_rng(0)
    reference, confidence = rng.beta(5, 1.5, 800), rng.beta(4, 2.5, 400)
    correct = rng.random(400) < confidence - 0.1
    store = FeedbackStore.open(f"sqlite:///{tmp_path / 'feedback.db'}", "one")
    monkeypatch.setattr("service.api.calibration.time.time", lambda: NOW)
    service = cast(FeedbackService, SimpleNamespace(store=store, collector=FeedbackCollector(store.totals)))
    app, settings = create_app(Settings()), Settings()
    serving = serve_classifier(Classifier(tiny_clip), settings)
    engine = app.state.engine = Engine(
        settings, serving, ServiceMetrics(CollectorRegistry(), take_over=False), feedback=service
    )
    engine.references.add(TAG, config(reference))
    features = torch.zeros(2, 2)
    labels = LabelSet(("x", "y"), None, ("new", "new"), features, features, 0.125, 0.5, torch.ones(2))
    known = [OpenSetAnswer(0.5, True, ()), OpenSetAnswer(0.5, False, ()), None]
    for i, c in enumerate(confidence):
        engine.metrics.answered(serving, labels, [Prediction("x", "new", float(c), (), known[i % 3])])
    store.add([told(i, c, k) for i, (c, k) in enumerate(zip(confidence[:200], correct, strict=False))], [False] * 200)
    with TestClient(app) as client:
        yield World(client, engine, confidence, correct, reference)
    store.close()


def config(reference: np.ndarray) -> ArtifactConfig:
    counts = np.bincount(binned(reference), minlength=20).astype(float).tolist()
    ten = binned(reference, 10)
    columns = [np.bincount(ten, weights=w, minlength=10).tolist() for w in (reference * 0 + 1, reference, reference > 0.5)]
    kept = Reference(
        reliability=Bins(count=columns[0], confidence=columns[1], correct=columns[2]), confidence_histogram=counts
    )
    figures = {"text_deviation": 0.25, "fd": math.nan}
    return cast(ArtifactConfig, SimpleNamespace(reference={"new": kept}, evaluation={"new": figures}))


def told(number: int, confidence: float, correct: bool, outcome: str | None = None) -> Feedback:
    """Feedback number i of 200 came 200 - i minutes ago."""
    receipt = Receipt(f"id{number}", 1.0, TAG, "new", "x", float(confidence), "true", 1.0, None, (0.5,), b"")
    judged = outcome or ("correct" if correct else "wrong")
    return Feedback(receipt, "x" if correct else "y", cast(Any, judged), NOW - 60 * (200 - number))


@pytest.mark.parametrize("bins", [10, 20])
def test_labelled_figures_are_numpys_on_the_events(world: World, bins: int) -> None:
    c, k = world.confidence[:200], world.correct[:200].astype(float)
    found = world.get(bins=bins)["scopes"]["new"]["labelled"]
    inside = [binned(c, bins) == b for b in range(bins)]
    held = [i for i in inside if i.any()]
    assert found["count"] == 200
    assert found["accuracy"] == pytest.approx(k.mean(), abs=1e-12)
    assert found["mean_confidence"] == pytest.approx(c.mean(), abs=1e-12)
    assert found["gap"] == pytest.approx(c.mean() - k.mean(), abs=1e-12)
    assert found["ece"] == pytest.approx(sum(i.sum() * abs(c[i].mean() - k[i].mean()) for i in held) / 200, abs=1e-12)
    assert found["brier"] == pytest.approx(np.mean((c - k) ** 2), abs=1e-12)
    assert found["mce"] == pytest.approx(max(abs(c[i].mean() - k[i].mean()) for i in held if i.sum() >= 10), abs=1e-12)
    spread = [i.sum() * c[i].mean() * (1 - c[i].mean()) for i in held]
    assert found["gap_floor"] == pytest.approx(2 * math.sqrt(sum(spread)) / 200, abs=1e-12)
    assert found["ece_noise_floor"] == pytest.approx(np.sqrt(2 / np.pi * np.array(spread)).sum() / 200, abs=1e-12)
    debiased = [i.sum() * ((c[i].mean() - k[i].mean()) ** 2 - k[i].var(ddof=1) / i.sum()) for i in held if i.sum() > 1]
    assert found["debiased_l2"] == pytest.approx(sum(debiased) / 200, abs=1e-12)
    table = found["reliability"]
    assert [(row["low"], row["high"]) for row in table] == [(b / bins, (b + 1) / bins) for b in range(bins)]
    for row, i in zip(table, inside, strict=True):
        assert (row["count"], row["correct"]) == (i.sum(), k[i].sum())
        expected = (c[i].mean(), k[i].mean()) if i.any() else (None, None)
        assert (row["confidence"], row["accuracy"]) == pytest.approx(expected, abs=1e-12)


def test_drift_is_of_all_answers(world: World) -> None:
    found = world.get()["scopes"]["new"]
    now, then = (np.bincount(binned(x), minlength=20) for x in (world.confidence, world.reference))
    p, q = (now + 0.5) / (400 + 10), (then + 0.5) / (800 + 10)
    drift = found["drift"]
    assert (drift["predictions"], found["reference"]["predictions"]) == (400, 800)
    assert drift["mean_confidence"] == pytest.approx(world.confidence.mean(), abs=1e-12)
    assert drift["psi"] == pytest.approx(((p - q) * np.log(p / q)).sum(), abs=1e-12)
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    assert drift["ks"] == pytest.approx(
        stats.ks_2samp(np.repeat(middles, now), np.repeat(middles, then)).statistic, abs=1e-12
    )
    assert drift["wasserstein"] == pytest.approx(stats.wasserstein_distance(middles, middles, now, then), abs=1e-12)
    assert drift["psi_floor"] == pytest.approx(stats.chi2.ppf(0.99, 19) * (1 / 400 + 1 / 800), abs=1e-12)
    assert drift["ks_floor"] == pytest.approx(1.6276 * math.sqrt(1 / 400 + 1 / 800), abs=1e-5)
    assert drift["drifted"] is True
    assert found["reference"]["mean_confidence"] == pytest.approx(world.reference.mean(), abs=1e-12)
    assert found["reference"]["accuracy"] == pytest.approx(np.mean(world.reference > 0.5), abs=1e-12)
    assert (found["reference"]["text_deviation"], found["reference"]["divergence"]) == (0.25, None)


def test_open_set_and_label_sets(world: World) -> None:
    found = world.get()
    assert (found["artifact"], found["bins"], found["window_seconds"]) == (TAG, 20, None)
    assert found["open_set"] == {"known": 134, "unknown": 133, "unscored": 133, "outside": 0}
    assert found["label_sets"] == {"text_deviation": 0.125, "divergence": 0.5}
    assert world.engine.feedback is not None
    outside = [told(1000 + i, 0.5, False, "outside") for i in range(3)]
    world.engine.feedback.store.add(outside, [False] * 3)
    again = world.get()
    assert again["open_set"]["outside"] == 3
    assert again["scopes"] == found["scopes"]  # outside says nothing of calibration


def test_what_nothing_is_known_of_is_null(world: World) -> None:
    base = world.get(bins=10)["scopes"]["base"]
    labelled = base["labelled"]
    assert labelled.pop("count") == 0
    rows = labelled.pop("reliability")
    assert len(rows) == 10
    assert all((row["count"], row["confidence"], row["accuracy"]) == (0, None, None) for row in rows)
    assert set(labelled.values()) == {None}
    assert base["drift"].pop("predictions") == 0
    assert set(base["drift"].values()) == {None}
    assert base["reference"] is None


@pytest.mark.parametrize(
    ("window", "seconds", "count"),
    [("600", 600, 10), ("10m", 600, 10), ("1h", 3600, 60), ("7d", 604_800, 200), ("59s", 59, 0)],
)
def test_labelled_figures_reach_back_as_far_as_asked(world: World, window: str, seconds: int, count: int) -> None:
    found = world.get(window=window)
    assert found["window_seconds"] == seconds
    labelled = found["scopes"]["new"]["labelled"]
    assert labelled["count"] == count
    if count:
        assert labelled["mean_confidence"] == pytest.approx(world.confidence[200 - count : 200].mean(), abs=1e-12)
    assert found["scopes"]["new"]["drift"]["predictions"] == 400


@pytest.mark.parametrize("window", ["0", "", "-1", "1.5h", "h", "1w", "1 h", "٣h", "1e3", "9" * 12, "7d\n"])
def test_a_window_that_is_none(world: World, window: str) -> None:
    response = world.client.get("/v1/calibration", params={"window": window})
    assert response.status_code == 422
    assert response.json()["error"]["field"] == "window"
    with pytest.raises(ApiError, match="give seconds"):
        seconds_of(window)


@pytest.mark.parametrize("bins", ["", "5", "10.0", "twenty", "20 ", "010"])
def test_bins_that_do_not_fit(world: World, bins: str) -> None:
    response = world.client.get("/v1/calibration", params={"bins": bins})
    assert response.status_code == 422
    assert response.json()["error"]["field"] == "bins"
    assert "10 or 20" in response.json()["error"]["message"]


@pytest.mark.parametrize("tag", ["never-served", "a\0b", "x" * 150])
def test_an_artifact_that_nobody_knows(world: World, tag: str) -> None:
    response = world.client.get("/v1/calibration", params={"artifact": tag})
    assert response.status_code == 404
    assert response.json()["error"]["field"] == "artifact"
    assert TAG in response.json()["error"]["message"]


def test_one_that_is_not_served_but_was_labelled_before_the_window_is_known(world: World) -> None:
    store = cast(FeedbackService, world.engine.feedback).store
    event = told(0, 0.7, True)
    store.add([replace(event, receipt=replace(event.receipt, artifact="retired", id="another"))], [False])
    for window, count in (("100m", 0), ("300m", 1)):
        assert world.get(artifact="retired", window=window)["scopes"]["new"]["labelled"]["count"] == count


def test_a_store_that_hangs_is_a_503(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr("service.api.calibration.answer", lambda *_: go.wait(10))
    app = create_app(Settings(timeout_seconds=0.05))
    app.state.engine = world.engine
    response = TestClient(app).get("/v1/calibration")
    go.set()
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")


def test_few_predictions_have_not_drifted_yet(world: World) -> None:
    world.engine.references.add("other", config(world.reference))
    drift = world.get(artifact="other")["scopes"]["new"]["drift"]
    assert (drift["predictions"], drift["drifted"], drift["psi"]) == (0, None, None)


def test_without_a_store_labelled_figures_are_null(tiny_clip: Backbone) -> None:
    app: FastAPI = create_app(Settings())
    serving = serve_classifier(Classifier(tiny_clip), Settings())
    app.state.engine = Engine(Settings(), serving, ServiceMetrics(CollectorRegistry(), take_over=False))
    with TestClient(app) as client:
        found = client.get("/v1/calibration").json()
    assert {scope["labelled"] for scope in found["scopes"].values()} == {None}
    assert found["open_set"]["outside"] is None
    assert found["scopes"]["new"]["reference"] is None


def test_the_metrics_have_the_reference_and_the_feedback(world: World) -> None:
    text = world.client.get("/metrics").text
    assert f'candor_reference_predictions{{artifact="{TAG}",scope="new"}} 800.0' in text
    assert (
        text.count(f'candor_feedback_total{{artifact="{TAG}",bin="0.95",scope="new"}}')
        + text.count(f'candor_feedback_total{{artifact="{TAG}",scope="new",bin="0.95"}}')
        == 1
    )
