"""What artifacts say of themselves, as gauges: exact, and absent where they say nothing."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from candor.clip.artifact import ArtifactConfig, Bins, Reference
from service.classifier import Prediction
from service.feedback.bins import BIN_NAMES
from service.metrics import ServiceMetrics
from service.reference import References, reference_of
from training.evaluation import ScopeResult

HISTOGRAM = [0.0] * 16 + [1.0, 0.0, 2.0, 5.0]
BINS = Bins(count=[0.0] * 8 + [1.0, 7.0], confidence=[0.0] * 8 + [0.85, 6.75], correct=[0.0] * 9 + [6.0])


def config(histogram: list[float] = HISTOGRAM, **figures: float) -> ArtifactConfig:
    kept = Reference(reliability=BINS, confidence_histogram=histogram)
    return cast(ArtifactConfig, SimpleNamespace(reference={"new": kept}, evaluation={"new": figures} if figures else {}))


def exported(config: ArtifactConfig | None) -> CollectorRegistry:
    registry, references = CollectorRegistry(), References()
    references.add("a", config)
    registry.register(references)
    return registry


def test_gauges_by_hand() -> None:
    registry = exported(config(text_deviation=0.125, fd=0.5))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"candor_reference_{name}", {"artifact": "a", "scope": "new"} | labels)

    shares = [value("confidence_ratio", bin=name) for name in BIN_NAMES]
    assert shares == [count / 8 for count in HISTOGRAM]
    below = [value("confidence_cdf_ratio", le=f"{round((b + 1) / 20, 2)}") for b in range(20)]
    assert below == [0.0] * 16 + [1 / 8, 1 / 8, 3 / 8, 1.0]
    assert (value("predictions"), value("accuracy_ratio")) == (8, 0.75)
    assert value("mean_confidence_ratio") == pytest.approx(7.6 / 8)
    assert (value("text_deviation"), value("divergence")) == (0.125, 0.5)
    assert {s.labels["scope"] for family in registry.collect() for s in family.samples} == {"new"}


def test_edges_are_spelled_as_those_of_the_confidence_histogram() -> None:
    counting = CollectorRegistry()
    ServiceMetrics(counting, take_over=False).prepare("a", "mcm")
    edged = ("candor_confidence_bucket", "candor_reference_confidence_cdf_ratio")
    spelled = {
        sample.labels["le"]
        for registry in (counting, exported(config()))
        for family in registry.collect()
        for sample in family.samples
        if sample.name in edged and sample.labels["le"] != "+Inf"
    }
    assert len(spelled) == 20


def test_the_reference_of_an_evaluation_is_in_the_bins_that_answers_are_counted_in() -> None:
    """Also for confidences right on an edge."""
    confidence = np.array([0.0, 0.05, 0.1, 0.15, 0.3, 0.35, 0.6, 0.7, 0.85, 1.0, 0.55, 0.550001])
    result = ScopeResult(confidence, confidence > 0.5, 0.5, 0.1)
    made = cast(
        ArtifactConfig, SimpleNamespace(reference={"base": result.reference()}, evaluation={"base": result.figures()})
    )
    reference = reference_of(made, "base")
    assert reference is not None
    metrics = ServiceMetrics(CollectorRegistry(), take_over=False)
    metrics.prepare("a", "mcm")
    labels = cast(Any, SimpleNamespace(labels=("x",), text_deviation=0.1, divergence=0.5))
    answers = [Prediction("x", "base", float(c), ()) for c in confidence]
    metrics.answered(cast(Any, SimpleNamespace(tag="a")), labels, answers)
    assert reference.counts.tolist() == metrics.counted("a").bins["base"].tolist()
    assert (reference.text_deviation, reference.divergence) == (0.1, 0.5)
    assert reference.accuracy == pytest.approx(np.mean(confidence > 0.5))


@pytest.mark.parametrize(
    "histogram", [[1.0] * 10, [0.0] * 20, [], [1.0] * 19 + [-1.0], [1.0] * 19 + [math.nan], [1.0] * 19 + [math.inf]]
)
def test_a_histogram_that_is_none_leaves_no_series(histogram: list[float]) -> None:
    assert [s for family in exported(config(histogram)).collect() for s in family.samples] == []


def test_figures_that_are_missing_are_absent_and_zero_shot_has_none() -> None:
    names = {s.name for family in exported(config(fd=math.nan)).collect() for s in family.samples}
    assert "candor_reference_predictions" in names
    assert names.isdisjoint({"candor_reference_divergence", "candor_reference_text_deviation"})
    assert [s for family in exported(None).collect() for s in family.samples] == []


def test_artifacts_that_were_switched_away_stay() -> None:
    references = References()
    references.add("a", config())
    references.add("b", None)
    assert references.artifacts() == ["a", "b"]
    assert references.of("b") == {}
    assert references.of("c") is None
    kept = references.of("a")
    assert kept is not None
    assert kept["new"].predictions == 8
