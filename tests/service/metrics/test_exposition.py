"""What Prometheus reads: every name, constants once, and the sums of two worker processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import ServiceMetrics, exported_names, exposition
from service.reference import References

COUNTERS = {
    "predictions",
    "confidence_bin",
    "label_cache_hits",
    "label_cache_misses",
    "rejected",
    "requests",
    "feedback",
    "feedback_confidence_sum",
    "feedback_correct",
    "feedback_squared_error",
    "feedback_outside",
    "feedback_overwritten",
}
HISTOGRAMS = {
    "confidence",
    "open_set_score",
    "label_set_size",
    "text_deviation",
    "divergence",
    "stage_seconds",
    "image_batch_size",
    "request_seconds",
}
GAUGES = {
    "reference_confidence_ratio",
    "reference_confidence_cdf_ratio",
    "reference_predictions",
    "reference_accuracy_ratio",
    "reference_mean_confidence_ratio",
    "reference_text_deviation",
    "reference_divergence",
}


def test_rules_and_dashboards_find_these_names() -> None:
    names = exported_names()
    expected = {f"candor_{name}_total" for name in COUNTERS} | {f"candor_{name}" for name in GAUGES}
    expected |= {f"candor_{name}_{part}" for name in HISTOGRAMS for part in ("bucket", "sum", "count")}
    assert expected <= names
    assert all(name.startswith("candor_") and not name.endswith("_created") for name in names)


def test_asking_for_the_names_takes_nothing_from_what_counts() -> None:
    from service.refusals import refusals

    registry = CollectorRegistry()
    metrics = ServiceMetrics(registry)
    exported_names()
    refusals.count("too_slow")
    assert registry.get_sample_value("candor_rejected_total", {"code": "too_slow"}) == 1
    del metrics


def test_what_is_exported_is_among_the_names() -> None:
    text = exposition([References()])[0].decode()
    found = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    assert {name for name in found if name.startswith("candor_")} <= exported_names()


# Two workers count, and are gone; then one that has counted as well is asked.
WORKERS = """
import json, os, sys
from dataclasses import dataclass
from types import SimpleNamespace
import torch
from candor.clip.artifact import Bins, Reference
from service.classifier import Prediction
from service.label_set import LabelSet
from service.metrics import ServiceMetrics, exposition
from service.metrics.requests import request_metrics
from service.reference import References, reference_of

features = torch.zeros(2, 2)
labels = LabelSet(("x", "y"), None, ("new", "new"), features, features, 0.25, 0.5, torch.ones(2))
metrics, requests = ServiceMetrics(), request_metrics()
metrics.prepare("a", "mcm")
requests.prepare(["/v1/classify"])

def work(confidence, times):
    for _ in range(times):
        metrics.answered(SimpleNamespace(tag="a"), labels, [Prediction("x", "new", confidence, ())])
        requests.count("/v1/classify", 200, 0.25)

for confidence, times in ((0.5, 3), (0.875, 4)):
    child = os.fork()
    if not child:
        work(confidence, times)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
work(0.5, 2)

bins = Bins(count=[0.0] * 9 + [4.0], confidence=[0.0] * 9 + [3.8], correct=[0.0] * 9 + [3.0])
reference = Reference(reliability=bins, confidence_histogram=[0.0] * 19 + [4.0])
config = SimpleNamespace(reference={"new": reference}, evaluation={"new": {"text_deviation": 0.125, "fd": float("nan")}})
references = References()
references.add("a", config)
counted = metrics.counted("a")
print(json.dumps({
    "text": exposition([references])[0].decode(),
    "bins": counted.bins["new"].tolist(), "mean": counted.mean_confidence["new"], "deviation": counted.text_deviation,
}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("processes")
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", WORKERS], env=environment, cwd=root, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_workers_add_up_and_constants_are_there_once(told: dict[str, object]) -> None:
    families = list(text_string_to_metric_families(str(told["text"])))
    found = Counter[tuple[str, tuple[tuple[str, str], ...]]]()
    value = {}
    for sample in (sample for family in families for sample in family.samples):
        key = sample.name, tuple(sorted(sample.labels.items()))
        found[key] += 1
        value[key] = sample.value
    assert set(found.values()) == {1}
    scope = ("artifact", "a"), ("scope", "new")
    assert value["candor_predictions_total", (("artifact", "a"), ("known", "unscored"), ("scope", "new"))] == 9
    assert value["candor_confidence_bin_total", (("artifact", "a"), ("bin", "0.45"), ("scope", "new"))] == 5
    assert value["candor_confidence_bin_total", (("artifact", "a"), ("bin", "0.85"), ("scope", "new"))] == 4
    assert value["candor_confidence_bin_total", (("artifact", "a"), ("bin", "0.85"), ("scope", "base"))] == 0
    assert value["candor_confidence_sum", scope] == 5 * 0.5 + 4 * 0.875
    assert value["candor_confidence_bucket", (("artifact", "a"), ("le", "0.85"), ("scope", "new"))] == 5
    assert value["candor_requests_total", (("route", "/v1/classify"), ("status", "2xx"))] == 9
    assert value["candor_requests_total", (("route", "other"), ("status", "5xx"))] == 0
    assert value["candor_request_seconds_sum", (("route", "/v1/classify"),)] == 9 * 0.25
    assert value["candor_reference_predictions", scope] == 4
    assert value["candor_reference_text_deviation", scope] == 0.125
    assert ("candor_reference_divergence", scope) not in value
    assert not any("pid" in dict(labels) for _, labels in found)


@pytest.mark.slow
def test_counts_are_read_back_over_all_workers(told: dict[str, object]) -> None:
    expected = [0.0] * 20
    expected[9], expected[17] = 5.0, 4.0
    assert told["bins"] == expected
    assert told["mean"] == pytest.approx((5 * 0.5 + 4 * 0.875) / 9)
    assert told["deviation"] == 0.25
