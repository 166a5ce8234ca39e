"""The store against figures worked by hand, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from service.feedback.schema import FEEDBACK, TOTALS
from service.feedback.store import FeedbackStore
from service.feedback.tallies import ScopeTotals
from tests.service.feedback.made import CURVE, told

PROCESSES, EACH, SHARED = 4, 40, 10


def plain(totals: dict[tuple[str, str], ScopeTotals]) -> dict[tuple[str, str], tuple[object, ...]]:
    """Totals as what can be compared: the bins that hold something, by number."""
    found = {}
    for key, t in totals.items():
        bins = t.bins
        held = {int(b): (bins.count[b], round(bins.confidence[b], 9), bins.correct[b]) for b in np.flatnonzero(bins.count)}
        found[key] = held, round(t.squared_error, 9), t.outside, t.overwritten
    return found


def test_a_row_comes_back_as_it_was_told(store: FeedbackStore) -> None:
    sent = told("x", "wise\U0001f989 owl", "wrong", 200.25, confidence=0.1 + 0.2, gamma=0.7, scope="base", known="unscored")
    assert store.add([sent, told("y", at=199.0)], [False, False]) == ["stored", "stored"]
    y, x = store.events()
    assert (y.prediction_id, y.gamma, y.received, y.outcome) == ("y", None, 199.0, "correct")
    assert (x.prediction_id, x.artifact, x.scope, x.predicted, x.label) == ("x", "a", "base", "cat", "wise\U0001f989 owl")
    assert (x.outcome, x.confidence, x.known, x.multiplier, x.gamma) == ("wrong", 0.1 + 0.2, "unscored", 2.5, 0.7)
    assert (x.curve, x.issued, x.received, x.replica, x.overwritten) == (CURVE, 100.0, 200.25, "one", 0)


def test_totals_worked_by_hand(store: FeedbackStore) -> None:
    store.add(
        [
            told("1", confidence=0.7),  # its bin is closed on the right: (0.65, 0.7] is number 13
            told("2", confidence=0.7, outcome="wrong"),
            told("3", confidence=0.71),
            told("4", confidence=0.0, outcome="wrong"),
            told("5", confidence=1.0, scope="base"),
            told("6", outcome="outside"),
            told("7", outcome="outside", known="false"),
            told("8", outcome="outside", known="false"),
        ],
        [False] * 8,
    )
    base = {19: (1, 1.0, 1)}, 0.0, {}, 0
    new = {0: (1, 0.0, 0), 13: (2, 1.4, 1), 14: (1, 0.71, 1)}, 0.6641, {"true": 1, "false": 2}, 0
    assert plain(store.totals()) == {("a", "base"): base, ("a", "new"): new}  # .09 + .49 + .0841 + 0
    store.rebuild()
    assert plain(store.totals()) == {("a", "base"): base, ("a", "new"): new}
    assert store.judged("a", "new").bins.to_lists() == store.totals()["a", "new"].bins.to_lists()


def test_repeats_conflicts_and_overwriting(store: FeedbackStore) -> None:
    assert store.add([told("1", "cat")], [False]) == ["stored"]
    before = plain(store.totals())
    assert store.add([told("1", " CAT_")], [False]) == ["repeated"]
    assert store.add([told("1", "cat")], [True]) == ["repeated"]
    assert store.add([told("1", "dog", "wrong")], [False]) == ["conflict"]
    assert plain(store.totals()) == before
    assert store.outcomes(["1", "2"]) == {"1": "correct"}
    assert store.add([told("1", "dog", "wrong", at=999.0)], [True]) == ["overwritten"]
    (kept,) = store.events()
    assert (kept.label, kept.outcome, kept.received, kept.overwritten) == ("dog", "wrong", 200.0, 1)
    assert store.add([told("1", "dog", "wrong")], [False]) == ["repeated"]
    assert store.add([told("1", "cat")], [False]) == ["conflict"]
    ((bins, error, outside, overwritten),) = plain(store.totals()).values()
    assert (bins, outside, overwritten) == ({14: (1, 0.73, 1)}, {}, 1)  # the first label: counters never go down
    assert error == pytest.approx(0.0729)
    assert store.judged("a", "new").bins.correct.sum() == 0  # the last label
    assert store.outcomes(["1"]) == {"1": "wrong"}


def test_one_prediction_several_times_in_one_request(store: FeedbackStore) -> None:
    sent = [told("1"), told("1"), told("1", "dog", "wrong"), told("1", "cow", "outside"), told("1", "cow", "outside")]
    statuses = store.add([*sent, told("1")], [False, False, True, True, False, False])
    assert statuses == ["stored", "repeated", "overwritten", "overwritten", "repeated", "conflict"]
    (kept,) = store.events()
    assert (kept.label, kept.outcome, kept.overwritten) == ("cow", "outside", 2)
    ((bins, _, outside, overwritten),) = plain(store.totals()).values()
    assert (bins, outside, overwritten) == ({14: (1, 0.73, 1)}, {}, 2)
    assert store.judged("a", "new").bins.total == 0
    assert store.add([], []) == []


def test_each_replica_counts_for_itself_and_bins_are_of_all(url: str) -> None:
    one, two = FeedbackStore.open(url, "one"), FeedbackStore.open(url, "two")
    one.add([told("1"), told("2", artifact="b")], [False, False])
    two.add([told("3", at=300.0), told("1")], [False, False])
    two.add([told("1", "dog", "wrong")], [True])
    assert plain(one.totals()) == {
        ("a", "new"): ({14: (1, 0.73, 1)}, 0.0729, {}, 0),
        ("b", "new"): ({14: (1, 0.73, 1)}, 0.0729, {}, 0),
    }
    of_two = {("a", "new"): ({14: (1, 0.73, 1)}, 0.0729, {}, 1), ("b", "new"): ({}, 0, {}, 0)}
    assert plain(two.totals()) == of_two  # zeros for what only the other one has
    assert (one.judged("a", "new").bins.total, one.judged("a", "new", since=250.0).bins.total) == (2, 1)
    assert [e.prediction_id for e in two.events(["a"])] == ["1", "3"]
    assert [e.prediction_id for e in two.events(since=300.0)] == ["3"]
    one.rebuild()
    assert [sum(t.overwritten for t in s.totals().values()) for s in (one, two)] == [1, 0]
    one.close()
    two.close()


def test_a_failure_keeps_nothing(store: FeedbackStore, url: str) -> None:
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE candor_feedback_counts"))
    engine.dispose()
    with pytest.raises(sa.exc.SQLAlchemyError):
        store.add([told("1"), told("2", outcome="outside")], [False, False])
    assert list(store.events()) == []


def test_every_value_of_a_full_request_and_of_many_pages(store: FeedbackStore) -> None:
    sent = [told(f"{i:05}", confidence=i / 2499, outcome="correct" if i % 3 else "wrong") for i in range(2500)]
    assert store.add(sent, [False] * 2500) == ["stored"] * 2500
    assert store.add(sent, [True] * 2500) == ["repeated"] * 2500
    assert [e.prediction_id for e in store.events()] == [f"{i:05}" for i in range(2500)]
    assert store.judged("a", "new").bins.confidence.sum() == pytest.approx(1250, abs=1e-9)


def fill(url: str, worker: int) -> None:
    """Of a process of its own: its own predictions, and some that all processes tell of at once."""
    store = FeedbackStore.open(url, "one" if worker % 2 else "two")
    for i in range(EACH):
        ids = [f"{worker}-{i}", *(f"shared-{j}" for j in sorted(range(SHARED), key=lambda j: hash((worker, i, j))))]
        labels = ["cat", *(f"label {worker}" for _ in range(SHARED))]
        outcomes = ["correct", *("wrong" for _ in range(SHARED))]
        sent = [told(id_, label, outcome) for id_, label, outcome in zip(ids, labels, outcomes, strict=True)]
        store.add(sent, [True] * len(sent))
    store.close()


@pytest.mark.slow
def test_several_processes_at_once_lose_and_double_nothing(url: str) -> None:
    """They open the empty database at the same time, too, and overwrite each other's labels."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=fill, args=(url, worker)) for worker in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    stores = [FeedbackStore.open(url, name) for name in ("one", "two")]
    assert sum(1 for _ in stores[0].events()) == PROCESSES * EACH + SHARED
    before = [store.totals()["a", "new"] for store in stores]
    assert sum(t.bins.total for t in before) == PROCESSES * EACH + SHARED
    assert sum(t.overwritten for t in before) == sum(e.overwritten for e in stores[0].events()) >= SHARED
    stores[0].rebuild()
    for store, t in zip(stores, before, strict=True):
        after = store.totals()["a", "new"]
        assert after.bins.count.tolist() == t.bins.count.tolist()
        assert after.bins.confidence == pytest.approx(t.bins.confidence, abs=1e-9)
        store.close()


def test_a_rebuild_while_feedback_comes_loses_and_doubles_nothing(url: str) -> None:
    writer, other = FeedbackStore.open(url, "one"), FeedbackStore.open(url, "one")
    over = threading.Event()

    def rebuild() -> None:
        while not over.is_set():
            other.rebuild()

    thread = threading.Thread(target=rebuild)
    thread.start()
    for i in range(30):
        writer.add([told(f"{i}-{j}", outcome="outside" if j else "correct") for j in range(3)], [False] * 3)
    over.set()
    thread.join()
    totals = writer.totals()["a", "new"]
    assert (totals.bins.total, totals.outside) == (30, {"true": 60})
    writer.close()
    other.close()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    store = FeedbackStore.open(f"sqlite:///{tmp_path}/state/deep/feedback.db", "one")
    store.add([told("1")], [False])
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "state" / "deep").iterdir()}
    assert modes == dict.fromkeys(("feedback.db", "feedback.db-wal", "feedback.db-shm"), "0o600")
    with store._engine.connect() as connection:
        pragmas = [connection.execute(sa.text(f"PRAGMA {name}")).scalar_one() for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]  # FULL
    store.close()


def test_what_is_committed_is_confirmed_by_the_disk_of_postgresql(url: str) -> None:
    if url.startswith("sqlite"):
        pytest.skip("PostgreSQL's")
    store = FeedbackStore.open(f"{url}?options=-csynchronous_commit%3Doff", "one")
    seen = []

    @sa.event.listens_for(store._engine, "before_cursor_execute")
    def look(connection: sa.Connection, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO candor_feedback "):
            own = connection.connection.cursor()
            seen.append(own.execute("SHOW synchronous_commit").fetchone()[0])

    store.add([told("1")], [False])
    with store._engine.connect() as connection:
        assert connection.execute(sa.text("SHOW synchronous_commit")).scalar_one() == "off"  # as it was asked for, outside
        assert connection.execute(sa.select(FEEDBACK.c.prediction_id)).scalars().all() == ["1"]
    assert seen == ["on"]
    store.close()


def test_a_rebuild_moves_no_sum_by_a_rounding(store: FeedbackStore) -> None:
    store.add([told("1", confidence=0.7), told("2", confidence=0.71, outcome="wrong")], [False] * 2)
    above = {"confidence": float(np.nextafter(0.7, 1)), "squared_error": float(np.nextafter(0.09, 1))}
    with store._engine.begin() as connection:
        connection.execute(sa.update(TOTALS).where(TOTALS.c.bin == 13).values(above))
        connection.execute(sa.update(TOTALS).where(TOTALS.c.bin == 14).values(confidence=0.71001))
    store.rebuild()
    with store._engine.connect() as connection:
        sums = connection.execute(sa.select(TOTALS.c.confidence).order_by(TOTALS.c.bin)).scalars().all()
    assert sums == [above["confidence"], 0.71]
