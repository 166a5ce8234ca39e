"""Any sequence of labels against a model of a few lines of plain Python."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.feedback.store import Feedback, FeedbackStore
from tests.service.feedback.made import told

CONFIDENCES = {"p": 0.05, "q": 0.35000001, "r": 0.5, "s": 1.0, "t": 0.0}
OUTCOMES = {"cat": "correct", "dog": "wrong", "cow": "outside"}
BINS = {"p": 0, "q": 7, "r": 9, "s": 19, "t": 0}  # right edges belong to the bin

item = st.tuples(st.sampled_from("pqrst"), st.sampled_from(["cat", "dog", "cow", " DOG"]), st.booleans())
requests = st.lists(st.tuples(st.sampled_from(["one", "two"]), st.lists(item, max_size=6)), max_size=8)


def sent(id_: str, label: str) -> Feedback:
    outcome = OUTCOMES[label.strip().lower()]
    scope, known = ("base", "false") if id_ in "pq" else ("new", "true")
    return told(id_, label, outcome, confidence=CONFIDENCES[id_], scope=scope, known=known)


class Model:
    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.overwrites = {"one": 0, "two": 0}

    def add(self, replica: str, id_: str, label: str, overwrite: bool) -> str:
        meant = label.strip().lower()
        row = self.rows.get(id_)
        if row is None:
            self.rows[id_] = {"label": meant, "first": OUTCOMES[meant], "replica": replica, "times": 0}
            return "stored"
        if row["label"] == meant:
            return "repeated"
        if not overwrite:
            return "conflict"
        row |= {"label": meant, "times": row["times"] + 1}
        self.overwrites[replica] += 1
        return "overwritten"

    def totals(self, replica: str) -> tuple[dict[int, list[float]], float, int]:
        """Bins, the squared error, and how many were outside."""
        bins: dict[int, list[float]] = {}
        error, outside = 0.0, 0
        for id_, row in self.rows.items():
            if row["replica"] != replica:
                continue
            if row["first"] == "outside":
                outside += 1
                continue
            confidence, correct = CONFIDENCES[id_], row["first"] == "correct"
            held = bins.setdefault(BINS[id_], [0, 0, 0])
            bins[BINS[id_]] = [held[0] + 1, held[1] + confidence, held[2] + correct]
            error += (confidence - correct) ** 2
        return bins, error, outside


def seen(store: FeedbackStore) -> tuple[dict[int, list[float]], float, int]:
    totals = store.totals().values()
    bins: dict[int, list[float]] = {}
    for each in totals:
        for b in range(20):
            if each.bins.count[b]:
                held = bins.setdefault(b, [0, 0, 0])
                columns = (each.bins.count[b], each.bins.confidence[b], each.bins.correct[b])
                bins[b] = [a + float(c) for a, c in zip(held, columns, strict=True)]
    return bins, sum(t.squared_error for t in totals), sum(sum(t.outside.values()) for t in totals)


def rounded(totals: tuple[dict[int, list[float]], float, int]) -> tuple[Any, ...]:
    bins, error, outside = totals
    return {b: [round(v, 9) for v in values] for b, values in bins.items()}, round(error, 9), outside


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without rows: its tables are made once."""
    path = tmp_path_factory.mktemp("empty") / "feedback.db"
    FeedbackStore.open(f"sqlite:///{path}", "").close()
    return path


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(told_of=requests)
def test_rows_and_totals_are_those_of_the_model(
    empty: Path, told_of: list[tuple[str, list[tuple[str, str, bool]]]]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{shutil.copy(empty, directory)}"
        stores = {name: FeedbackStore.open(url, name) for name in ("one", "two")}
        model = Model()
        for replica, items in told_of:
            expected = [model.add(replica, *each) for each in items]
            feedback = [sent(id_, label) for id_, label, _ in items]
            assert stores[replica].add(feedback, [overwrite for *_, overwrite in items]) == expected
        rows = {
            e.prediction_id: (e.label.strip().lower(), e.outcome, e.replica, e.overwritten) for e in stores["one"].events()
        }
        wanted = {i: (r["label"], OUTCOMES[r["label"]], r["replica"], r["times"]) for i, r in model.rows.items()}
        assert rows == wanted
        for rebuilt in (False, True):
            for name, store in stores.items():
                assert rounded(seen(store)) == rounded(model.totals(name))
                if not rebuilt:
                    assert sum(t.overwritten for t in store.totals().values()) == model.overwrites[name]
            stores["one"].rebuild()
        judged = [r["label"] for i, r in model.rows.items() if i in "rst" and r["label"] != "cow"]
        assert stores["one"].judged("a", "new").bins.total == len(judged)
        assert stores["one"].judged("a", "new").bins.correct.sum() == judged.count("cat")
        for store in stores.values():
            store.close()
