"""The feedback families as Prometheus's own parser reads them."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from service.feedback import totals as totals_module
from service.feedback.bins import BIN_NAMES
from service.feedback.store import FeedbackStore
from service.feedback.totals import FeedbackCollector
from tests.service.feedback.made import told

LABELS = ("artifact", "scope", "bin", "known")

Samples = dict[tuple[str, ...], float]


def scraped(collector: FeedbackCollector) -> tuple[Samples, dict[str, str]]:
    """Samples by name and the values of their labels; the type of each family."""
    registry = CollectorRegistry()
    registry.register(collector)
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    samples = {
        (s.name.removeprefix("candor_"), *(s.labels[name] for name in LABELS if name in s.labels)): s.value
        for family in families
        for s in family.samples
    }
    return samples, {family.name: family.type for family in families}


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return FeedbackStore.open(f"sqlite:///{tmp_path / 'feedback.db'}", "one")


def test_every_series_of_a_prepared_artifact_is_there_at_zero(store: FeedbackStore) -> None:
    collector = FeedbackCollector(store.totals)
    collector.prepare("served")
    samples, types = scraped(collector)
    assert types == {
        "candor_feedback": "counter",
        "candor_feedback_confidence_sum": "counter",
        "candor_feedback_correct": "counter",
        "candor_feedback_squared_error": "counter",
        "candor_feedback_outside": "counter",
        "candor_feedback_overwritten": "counter",
        "candor_feedback_store_up": "gauge",
    }
    by_bin = {
        (f"feedback{name}_total", "served", scope, b)
        for name in ("", "_confidence_sum", "_correct")
        for scope in ("base", "new")
        for b in BIN_NAMES
    }
    names = ("feedback_squared_error_total", "feedback_overwritten_total")
    others = {(name, "served", scope) for name in names for scope in ("base", "new")}
    outside = {("feedback_outside_total", "served", s, k) for s in ("base", "new") for k in ("true", "false", "unscored")}
    assert samples.pop(("feedback_store_up",)) == 1
    assert samples == dict.fromkeys(by_bin | others | outside, 0)
    store.close()


def test_counters_are_what_is_stored(store: FeedbackStore) -> None:
    collector = FeedbackCollector(store.totals)
    collector.prepare("a")
    before, _ = scraped(collector)
    store.add([told("1", confidence=0.7), told("2", confidence=0.7, outcome="wrong")], [False, False])
    store.add([told("3", outcome="outside", known="false"), told("4", artifact="retired", scope="base")], [False, False])
    store.add([told("2", "x", "correct")], [True])
    after, _ = scraped(collector)
    changed = {key: value for key, value in after.items() if before.get(key) != value and key[1] == "a"}
    assert changed == {
        ("feedback_total", "a", "new", "0.65"): 2,
        ("feedback_confidence_sum_total", "a", "new", "0.65"): 1.4,
        ("feedback_correct_total", "a", "new", "0.65"): 1,
        ("feedback_squared_error_total", "a", "new"): pytest.approx(0.58),
        ("feedback_outside_total", "a", "new", "false"): 1,
        ("feedback_overwritten_total", "a", "new"): 1,
    }
    assert after["feedback_correct_total", "retired", "base", "0.70"] == 1  # labels come late
    store.close()


def test_a_store_that_cannot_be_read_leaves_a_gap_and_no_lower_figures(
    store: FeedbackStore, caplog: pytest.LogCaptureFixture
) -> None:
    up = True

    def totals() -> object:
        if not up:
            raise OperationalError("SELECT", {}, Exception("disk I/O error"))
        return store.totals()

    collector = FeedbackCollector(totals)  # type: ignore[arg-type]
    collector.prepare("a")
    store.add([told("1")], [False])
    good, _ = scraped(collector)
    up = False
    with caplog.at_level(logging.ERROR):
        gap, _ = scraped(collector)
    up = True
    assert (good["feedback_store_up",], good["feedback_total", "a", "new", "0.70"]) == (1, 1)
    assert gap == {("feedback_store_up",): 0}
    assert scraped(collector)[0] == good
    assert [record.getMessage() for record in caplog.records] == ["the feedback store cannot be read: disk I/O error"]
    store.close()


def test_series_of_an_artifact_that_was_served_before_a_restart_stay(store: FeedbackStore) -> None:
    """Else the first label that comes late makes its series appear at one, and an increase from nothing is none."""
    first = FeedbackCollector(store.totals, store.begin)
    first.prepare("retired")
    before, _ = scraped(first)
    store.add([told("1", artifact="retired", confidence=0.03)], [False])  # of the bin that the zero is kept in
    again, _ = scraped(FeedbackCollector(store.totals, store.begin))
    assert set(again) == set(before)
    other = FeedbackCollector(store.totals, store.begin)
    other.prepare("retired")
    after, _ = scraped(other)
    assert (before["feedback_total", "retired", "new", "0.00"], after["feedback_total", "retired", "new", "0.00"]) == (0, 1)
    store.rebuild()
    assert scraped(other)[0] == after
    store.close()


def test_a_read_that_hangs_is_given_up_and_no_other_is_begun(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(totals_module, "READ_SECONDS", 0.05)
    go, begun = threading.Event(), []

    def totals() -> totals_module.Totals:
        begun.append(1)
        assert go.wait(10)
        return {}

    collector = FeedbackCollector(totals)
    collector.prepare("a")
    with caplog.at_level(logging.ERROR):
        assert [scraped(collector)[0] for _ in range(3)] == [{("feedback_store_up",): 0}] * 3
    assert len(begun) == 1
    assert set(caplog.messages) == {"the feedback store cannot be read within 0.05 s"}
    go.set()
    monkeypatch.setattr(totals_module, "READ_SECONDS", 10)
    assert scraped(collector)[0]["feedback_store_up",] == 1
    assert len(begun) == 2
