"""Every series is there before it counts, and counts what it says."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from prometheus_client import CollectorRegistry

from candor.calibration.open_set import ScoreName
from service.classifier import Prediction
from service.errors import CODES
from service.label_set import LabelSet
from service.metrics import ServiceMetrics
from service.open_set import OpenSetAnswer
from service.refusals import Refusals, refusals
from service.serving import Serving


class Served:
    """A serving as metrics see it."""

    def __init__(self, tag: str, method: ScoreName) -> None:
        self.tag, self.classifier = tag, self
        self.open_set_method = method


def served(tag: str, method: ScoreName = "mcm") -> Serving:
    return cast(Serving, Served(tag, method))


def label_set(size: int) -> LabelSet:
    features = torch.zeros(size, 2)
    labels = tuple(f"label {i}" for i in range(size))
    return LabelSet(labels, None, ("new",) * size, features, features, 0.125, 0.5, lambda logits: logits)


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ServiceMetrics:
    return ServiceMetrics(registry)


def series(registry: CollectorRegistry) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_nothing_new_appears_when_something_is_counted(metrics: ServiceMetrics, registry: CollectorRegistry) -> None:
    metrics.prepare("a", "neglabel")
    before = series(registry)
    answers = [OpenSetAnswer(0.5, True, ()), OpenSetAnswer(0.25, None, ()), None]
    predictions = [Prediction("label 0", scope, 0.5, (0.5,), a) for scope in ("base", "new") for a in answers]
    metrics.answered(served("a", "neglabel"), label_set(3), predictions)
    for stage in ("decode", "queue", "encode", "labels", "score", "answer"):
        metrics.stage(cast(Any, stage), 0.01)
    metrics.image_batch(4)
    metrics.label_cache(3, 2)
    for code in CODES.values():
        refusals.count(code)
    assert series(registry) == before
    metrics.prepare("b", "neglabel")
    assert {dict(labels)["artifact"] for name, labels in series(registry) - before} == {"b"}


def test_each_artifact_counts_for_itself(metrics: ServiceMetrics, registry: CollectorRegistry) -> None:
    metrics.prepare("a", "mcm")
    metrics.prepare("b", "neglabel")
    metrics.answered(served("a"), label_set(2), [Prediction("label 0", "base", 0.75, (), OpenSetAnswer(0.5, True, ()))])
    metrics.answered(served("b", "neglabel"), label_set(2), [Prediction("label 1", "new", 0.5, ())] * 3)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"candor_{name}", labels)

    assert value("predictions_total", artifact="a", scope="base", known="true") == 1
    assert value("predictions_total", artifact="b", scope="new", known="unscored") == 3
    assert value("predictions_total", artifact="b", scope="base", known="true") == 0
    assert value("confidence_sum", artifact="a", scope="base") == 0.75
    assert value("confidence_count", artifact="b", scope="new") == 3
    assert value("open_set_score_sum", artifact="a", method="mcm") == 0.5
    assert value("open_set_score_count", artifact="b", method="neglabel") == 0
    assert (value("label_set_size_count"), value("label_set_size_sum")) == (2, 4)
    assert value("text_deviation_sum") == 0.25


def test_scores_of_single_labels_are_no_confidence(metrics: ServiceMetrics, registry: CollectorRegistry) -> None:
    metrics.prepare("a", "mcm")
    metrics.answered(served("a"), label_set(2), [Prediction("label 0", "new", 0.75, ())], calibrated=False)
    assert registry.get_sample_value("candor_confidence_count", {"artifact": "a", "scope": "new"}) == 0
    labels = {"artifact": "a", "scope": "new", "known": "unscored"}
    assert registry.get_sample_value("candor_predictions_total", labels) == 1


def test_stages_batches_and_the_label_cache(metrics: ServiceMetrics, registry: CollectorRegistry) -> None:
    metrics.stage("encode", 0.25)
    metrics.stage("encode", 0.5)
    with metrics.timed("score"):
        pass
    with pytest.raises(ValueError, match="x"), metrics.timed("score"):
        raise ValueError("x")
    for size in (1, 5, 32):
        metrics.image_batch(size)
    metrics.label_cache(7, 2)
    metrics.label_cache(0, 1)
    assert registry.get_sample_value("candor_stage_seconds_sum", {"stage": "encode"}) == 0.75
    assert registry.get_sample_value("candor_stage_seconds_bucket", {"stage": "encode", "le": "0.2"}) == 0
    assert registry.get_sample_value("candor_stage_seconds_bucket", {"stage": "encode", "le": "0.5"}) == 2
    assert registry.get_sample_value("candor_stage_seconds_count", {"stage": "score"}) == 1
    assert registry.get_sample_value("candor_image_batch_size_bucket", {"le": "8.0"}) == 2
    assert registry.get_sample_value("candor_image_batch_size_sum") == 38
    assert registry.get_sample_value("candor_label_cache_hits_total") == 7
    assert registry.get_sample_value("candor_label_cache_misses_total") == 3


def test_refusals_before_anything_counts_are_not_lost() -> None:
    counted, early = [], Refusals()
    for code in ("unavailable", "invalid", "unavailable", "a code of nobody"):
        early.count(code)
    early.export(lambda code, number: counted.append((code, number)))
    assert counted == [("unavailable", 2), ("invalid", 1)]
    early.count("invalid")
    early.count("<script>")
    assert counted[2:] == [("invalid", 1)]


def test_metrics_take_over_the_refusals_of_the_process(registry: CollectorRegistry) -> None:
    ServiceMetrics(CollectorRegistry())
    metrics = ServiceMetrics(registry)
    refusals.count("too_slow")
    assert registry.get_sample_value("candor_rejected_total", {"code": "too_slow"}) == 1
    assert registry.get_sample_value("candor_rejected_total", {"code": "forbidden"}) == 0
    del metrics
