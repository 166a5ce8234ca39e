"""What is acknowledged is stored; what is not, says so; requests that come together share a transaction."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy.exc import DataError, OperationalError

from service.errors import ApiError
from service.feedback.label_hashes import label_hashes
from service.feedback.receipt import Receipt
from service.feedback.receipts import ReceiptRefused, Receipts
from service.feedback.service import FeedbackService, SentFeedback, open_feedback
from service.feedback.store import Feedback, FeedbackStore, Status
from service.settings import Settings
from tests.service.feedback.made import receipt


class Read:
    """Takes an id for its receipt."""

    def read(self, prediction_id: str) -> Receipt:
        if prediction_id in ("invalid", "expired"):
            raise ReceiptRefused(cast(Any, prediction_id))
        return replace(receipt(prediction_id), labels=label_hashes(["cat", "dog"]))


RECEIPTS = cast(Receipts, Read())


class Watched:
    """A store that keeps the size of each transaction, and can be held or broken."""

    def __init__(self, store: FeedbackStore) -> None:
        self._store = store
        self.sizes: list[int] = []
        self.broken = False
        self.go = threading.Event()
        self.go.set()

    def add(self, feedback: Sequence[Feedback], overwrite: Sequence[bool]) -> list[Status]:
        self.sizes.append(len(feedback))
        assert self.go.wait(10)
        if self.broken:
            raise OperationalError("INSERT", {}, sqlite3.OperationalError("disk I/O error"))
        if any("bad" in each.label for each in feedback):
            raise DataError("INSERT", {}, ValueError("a value of a row"))
        return self._store.add(feedback, overwrite)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    return Watched(FeedbackStore.open(f"sqlite:///{tmp_path / 'feedback.db'}", "one"))


def service(store: Watched, seconds: float = 10) -> FeedbackService:
    return FeedbackService(cast(FeedbackStore, store), RECEIPTS, seconds)


def plain(found: list[Any]) -> list[Any]:
    return [(e.status, e.field, e.message) if isinstance(e, ApiError) else (e["status"], e["outcome"]) for e in found]


def test_each_has_its_answer_in_its_place(store: Watched) -> None:
    taking = service(store)
    told: list[str] = []
    taking.refused = told.append
    sent = [("1", "cat"), ("forged", "dog"), ("2", "CAT "), ("3", "dog"), ("4", "moon"), ("1", "dog"), ("1", "cat")]
    items = [
        SentFeedback(id_.replace("forged", "invalid"), label, False, f"feedback.{i}.")
        for i, (id_, label) in enumerate(sent)
    ]
    found = asyncio.run(taking.add(items))
    refused = "not a prediction_id of this service, or an expired one"
    kept = "another label is kept for this prediction already, by which it is 'correct'; send overwrite: true to replace it"
    assert plain(found) == [
        ("stored", "correct"),
        (422, "feedback.1.prediction_id", refused),
        ("stored", "correct"),
        ("stored", "wrong"),
        ("stored", "outside"),
        (409, "feedback.5.label", kept),
        ("repeated", "correct"),
    ]
    assert told == ["invalid", "conflict"]
    assert [event.label for event in store.events()] == ["cat", "CAT", "dog", "moon"]
    assert plain(asyncio.run(service(store).add([SentFeedback("1", "dog", True)]))) == [("overwritten", "wrong")]
    assert plain(asyncio.run(service(store).add([SentFeedback("expired", "dog")]))) == [(422, "prediction_id", refused)]
    assert asyncio.run(service(store).add([])) == []


def test_requests_that_come_together_share_a_transaction(store: Watched) -> None:
    taking = service(store)

    async def scenario() -> list[list[Any]]:
        store.go.clear()
        first = asyncio.create_task(taking.add([SentFeedback("first", "cat")]))
        while not store.sizes:
            await asyncio.sleep(0.001)
        others = [
            asyncio.create_task(taking.add([SentFeedback(f"{i}", "cat"), SentFeedback("x", "cat")])) for i in range(20)
        ]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in (first, *others))  # nobody is told before it is stored
        store.go.set()
        return [plain(answer) for answer in await asyncio.gather(first, *others)]

    first, *others = asyncio.run(scenario())
    assert store.sizes == [1, 40]
    assert first == [("stored", "correct")]
    assert [own for own, _ in others] == [("stored", "correct")] * 20
    assert sorted(shared[0] for _, shared in others) == ["repeated"] * 19 + ["stored"]


def test_a_store_that_fails_acknowledges_nothing_and_works_again(store: Watched, caplog: pytest.LogCaptureFixture) -> None:
    taking = service(store)

    async def scenario() -> None:
        store.broken = True
        answers = await asyncio.gather(
            *(taking.add([SentFeedback(str(i), "a label")]) for i in range(3)), return_exceptions=True
        )
        assert [(cast(ApiError, e).status, "send it again" in str(e)) for e in answers] == [(503, True)] * 3
        store.broken = False
        assert plain(await taking.add([SentFeedback("0", "cat")])) == [("stored", "correct")]

    asyncio.run(scenario())
    assert {record.getMessage() for record in caplog.records} == {"feedback cannot be stored: disk I/O error"}


def test_a_store_that_hangs_is_given_up_and_repeats_are_not_counted_twice(store: Watched) -> None:
    taking = service(store, seconds=0.05)

    async def scenario() -> None:
        store.go.clear()
        with pytest.raises(ApiError) as caught:
            await taking.add([SentFeedback("1", "cat")])
        assert caught.value.status == 503
        store.go.set()
        while not list(store.events()):
            await asyncio.sleep(0.001)
        taking._timeout = 10
        assert plain(await taking.add([SentFeedback("1", "cat")])) == [("repeated", "correct")]

    asyncio.run(scenario())
    assert store.totals()["a", "new"].bins.total == 1


def test_one_that_no_database_takes_fails_alone(store: Watched) -> None:
    taking = service(store)

    async def scenario() -> list[Any]:
        store.go.clear()
        first = asyncio.create_task(taking.add([SentFeedback("first", "cat")]))
        while not store.sizes:
            await asyncio.sleep(0.001)
        labels = ("cat", "bad", "dog")
        others = [asyncio.create_task(taking.add([SentFeedback(str(i), label)])) for i, label in enumerate(labels)]
        await asyncio.sleep(0.05)
        store.go.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    first, one, bad, other = asyncio.run(scenario())
    assert [plain(each) for each in (first, one, other)] == [
        [("stored", "correct")],
        [("stored", "correct")],
        [("stored", "wrong")],
    ]
    assert (bad.status, "cannot be stored now" in bad.message) == (503, True)
    assert store.sizes == [1, 3, 1, 1, 1]
    assert taking._behind == 0


def test_what_was_given_up_before_its_turn_is_not_stored_later(store: Watched) -> None:
    """Its caller may have said something else since, to another replica."""
    taking = service(store)

    async def scenario() -> None:
        store.go.clear()
        first = asyncio.create_task(taking.add([SentFeedback("first", "cat")]))
        while not store.sizes:
            await asyncio.sleep(0.001)
        taking._timeout = 0.05
        with pytest.raises(ApiError):
            await taking.add([SentFeedback("1", "dog", True)])
        taking._timeout = 10
        last = asyncio.create_task(taking.add([SentFeedback("2", "cat")]))
        await asyncio.sleep(0.01)
        store.go.set()
        await asyncio.gather(first, last)

    asyncio.run(scenario())
    assert [event.prediction_id for event in store.events()] == ["first", "2"]


def test_a_store_that_is_far_behind_is_given_no_more(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.feedback.service.MOST_WAITING", 3)
    taking = service(store)

    async def scenario() -> None:
        store.go.clear()
        running = [asyncio.create_task(taking.add([SentFeedback("first", "cat")]))]
        while not store.sizes:
            await asyncio.sleep(0.001)
        running.append(asyncio.create_task(taking.add([SentFeedback(str(i), "cat") for i in range(3)])))
        await asyncio.sleep(0.01)
        with pytest.raises(ApiError, match="too many labels wait") as caught:
            await taking.add([SentFeedback("more", "cat")])
        assert caught.value.status == 503
        store.go.set()
        await asyncio.gather(*running)
        assert plain(await taking.add([SentFeedback("more", "cat")])) == [("stored", "correct")]

    asyncio.run(scenario())


def test_settings_name_the_store(tmp_path: Path) -> None:
    assert open_feedback(Settings(state=tmp_path, feedback="off")) is None
    assert list(tmp_path.iterdir()) == []
    by_default = open_feedback(Settings(state=tmp_path / "state"))
    other = open_feedback(Settings(state=tmp_path / "state", feedback=f"sqlite:///{tmp_path}/other.db"))
    assert (tmp_path / "state" / "feedback.db").is_file()
    assert (tmp_path / "other.db").is_file()
    assert by_default.store._replica == other.store._replica == (tmp_path / "state" / "replica").read_text()
    assert "hunter2" not in repr(Settings(feedback="postgresql://me:hunter2@host/x"))
    by_default.store.close()
    other.store.close()
