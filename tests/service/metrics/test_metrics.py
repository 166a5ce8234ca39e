"""Every series is there before it counts, and counts what it says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from candor.calibration.open_set import ScoreName
from service.classifier import Prediction
from service.errors import CODES
from service.feedback.bins import BIN_NAMES
from service.label_set import LabelSet
from service.metrics import STAGES, ServiceMetrics
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
    return LabelSet(labels, None, ("new",) * size, features, features, 0.125, 0.5, torch.ones(size))


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ServiceMetrics:
    return ServiceMetrics(registry)


def series(registry: CollectorRegistry) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))) for family in registry.collect() for sample in family.samples
    }


def values(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_nothing_new_appears_when_something_is_counted(metrics: ServiceMetrics, registry: CollectorRegistry) -> None:
    metrics.prepare("a", "neglabel")
    before = series(registry)
    answers = [OpenSetAnswer(0.5, True, ()), OpenSetAnswer(0.25, None, ()), None]
    predictions = [Prediction("label 0", scope, 0.5, (0.5,), a) for scope in ("base", "new") for a in answers]
    metrics.answered(served("a", "neglabel"), label_set(3), predictions)
    for stage in STAGES:
        metrics.stage(stage, 0.01)
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
    assert (value("text_deviation_sum", artifact="a"), value("text_deviation_sum", artifact="b")) == (0.125, 0.125)
    assert (value("divergence_count", artifact="a"), value("divergence_sum", artifact="a")) == (1, 0.5)
    assert value("confidence_bin_total", artifact="a", scope="base", bin="0.70") == 1  # (.70, .75]
    assert value("confidence_bin_total", artifact="b", scope="new", bin="0.45") == 3
    assert value("confidence_bin_total", artifact="b", scope="base", bin="0.45") == 0


def test_what_is_not_the_artifacts_own_confidence_counts_as_a_prediction_only(
    metrics: ServiceMetrics, registry: CollectorRegistry
) -> None:
    metrics.prepare("a", "mcm")
    before = values(registry)
    answer = OpenSetAnswer(0.5, None, ())
    metrics.answered(served("a"), label_set(2), [Prediction("label 0", "new", 0.75, (), answer)], monitored=False)
    changed = {key: value - before[key] for key, value in values(registry).items() if value != before[key]}
    prediction = "candor_predictions_total", (("artifact", "a"), ("known", "unscored"), ("scope", "new"))
    assert changed.pop(prediction) == 1
    assert {name.rpartition("_")[0] for name, _ in changed} == {"candor_label_set_size"}


def test_one_label_has_no_divergence(metrics: ServiceMetrics, registry: CollectorRegistry) -> None:
    metrics.prepare("a", "mcm")
    alone = replace(label_set(1), divergence=float("nan"))
    metrics.answered(served("a"), alone, [Prediction("label 0", "new", 1.0, ())])
    metrics.answered(served("a"), label_set(2), [Prediction("label 0", "new", 0.0, ())])
    counted = metrics.counted("a")
    assert (counted.divergence, counted.text_deviation) == (0.5, 0.125)
    assert counted.bins["new"].tolist() == [1.0, *[0.0] * 18, 1.0]  # both ends are in a bin


@given(st.lists(st.floats(0, 1), max_size=30), st.lists(st.floats(0, 1), max_size=30))
def test_counts_read_back_are_what_was_counted(base: list[float], new: list[float]) -> None:
    metrics = ServiceMetrics(CollectorRegistry(), take_over=False)
    for tag in ("a", "b"):
        metrics.prepare(tag, "mcm")
    known = [OpenSetAnswer(0.5, True, ()), OpenSetAnswer(0.5, False, ()), None]
    predictions = [Prediction("x", "base", c, (), known[i % 3]) for i, c in enumerate(base)]
    predictions += [Prediction("x", "new", c, (), known[0]) for c in new]
    metrics.answered(served("a"), label_set(2), predictions)
    counted = metrics.counted("a")
    for scope, confidence in (("base", base), ("new", new)):
        edges = np.arange(21) / 20
        expected = np.histogram(-np.array(confidence), -edges[::-1])[0][::-1]  # numpy closes bins on the left
        assert counted.bins[scope].tolist() == expected.tolist()  # type: ignore[index]
        mean = counted.mean_confidence[scope]  # type: ignore[index]
        assert mean == pytest.approx(np.mean(confidence) if confidence else float("nan"), nan_ok=True)
    share = Counter(("true", "false", "unscored")[i % 3] for i in range(len(base)))
    assert counted.known["base"] == {"true": 0, "false": 0, "unscored": 0} | share
    assert counted.known["new"] == {"true": len(new), "false": 0, "unscored": 0}
    other = metrics.counted("b")
    assert not any(other.bins[scope].any() for scope in ("base", "new"))  # type: ignore[index]


@settings(max_examples=30)
@given(st.lists(st.text(min_size=1).filter(lambda text: len(text) > 2), min_size=1, max_size=4))
def test_nothing_that_a_caller_wrote_is_exported(texts: list[str]) -> None:
    registry = CollectorRegistry()
    metrics = ServiceMetrics(registry, take_over=False)
    metrics.prepare("a", "mcm")
    before = {key for key, _ in values(registry).items()}
    labels = replace(label_set(len(texts)), labels=tuple(texts))
    metrics.answered(served("a"), labels, [Prediction(text, "new", 0.5, ()) for text in texts])
    assert {key for key, _ in values(registry).items()} == before
    assert generate_latest(registry).count(b'bin="0.45"') == 2


def test_bins_are_named_by_their_lower_edge(metrics: ServiceMetrics, registry: CollectorRegistry) -> None:
    metrics.prepare("a", "mcm")
    names = {dict(labels)["bin"] for name, labels in series(registry) if name == "candor_confidence_bin_total"}
    assert names == set(BIN_NAMES)
    assert (BIN_NAMES[0], BIN_NAMES[1], BIN_NAMES[13], BIN_NAMES[19]) == ("0.00", "0.05", "0.65", "0.95")


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
