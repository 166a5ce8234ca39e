"""The durable store of feedback: each prediction once, with the totals that are exported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from sqlalchemy import Connection, Engine, bindparam, select, update

from candor.clip.templates import readable
from service.feedback.bins import bin_of
from service.feedback.database import READS, open_database, open_existing, promise
from service.feedback.judged import judged
from service.feedback.receipt import Outcome
from service.feedback.records import Feedback, StoredFeedback, row_of, stored_of
from service.feedback.schema import FEEDBACK, inserting
from service.feedback.tallies import OUTSIDE, ScopeTotals, Tally, begin, recount, totals_of

__all__ = ["Feedback", "FeedbackStore", "Status", "StoredFeedback"]

Status = Literal["stored", "repeated", "overwritten", "conflict"]

PAGE = 1000  # rows at a time


class FeedbackStore:
    """Feedback in a database. Safe from several threads, processes and, in PostgreSQL, machines.

    Two things are kept: a row a prediction, which holds the last label, and totals by replica, which hold the first. Totals
    are written in the transaction of the rows: they never lose or double what is acknowledged, and only grow.

    Args:
        engine: of an up-to-date database.
        replica: whose totals this process adds to.
    """

    def __init__(self, engine: Engine, replica: str) -> None:
        self._engine, self._replica = engine, replica
        self._reader = engine.execution_options(**{READS: True})

    @classmethod
    def open(cls, url: str, replica: str) -> FeedbackStore:
        """Open a database, make its tables or bring them up to date.

        Args:
            url: of SQLAlchemy, SQLite or PostgreSQL.
            replica: see `service.feedback.replica`.

        Raises:
            InvalidInput: as `service.feedback.database.open_database`.
        """
        return cls(open_database(url), replica)

    @classmethod
    def existing(cls, url: str, reads: bool = False) -> FeedbackStore:
        """Open an up-to-date database that is there, for commands: it adds to nobody's totals.

        Args:
            url: of SQLAlchemy, SQLite or PostgreSQL.
            reads: whether it only reads.

        Raises:
            InvalidInput: as `service.feedback.database.open_existing`.
        """
        return cls(open_existing(url, reads), "")

    def add(self, feedback: Sequence[Feedback], overwrite: Sequence[bool]) -> list[Status]:
        """Keep feedback, in one transaction: all of it is durable when this returns, or none is kept.

        Args:
            feedback: any number; the same prediction may come several times.
            overwrite: of each, whether it may replace another label.

        Returns:
            What became of each: "stored"; "repeated" where that label is kept already; where another one is,
            "overwritten" or "conflict".

        Raises:
            SQLAlchemyError: the database cannot be reached, or does not do it.
        """
        if not feedback:
            return []
        with self._engine.begin() as connection:
            promise(connection)
            first = {each.receipt.id: each for each in reversed(feedback)}
            new = _insert(connection, [first[id_] for id_ in sorted(first)], self._replica)
            labels = _labels(connection, sorted(first.keys() - new))
            statuses, changes = _judged(feedback, overwrite, new, labels)
            if changes:
                connection.execute(_CHANGE, [_changed(*changes[id_]) for id_ in sorted(changes)])
            tally = Tally()
            for each, status in zip(feedback, statuses, strict=True):
                _count(tally, each, status)
            tally.store(connection, self._replica)
        return statuses

    def outcomes(self, prediction_ids: Sequence[str]) -> dict[str, Outcome]:
        """The outcomes that are kept of some predictions, by their ids."""
        asked = select(FEEDBACK.c.prediction_id, FEEDBACK.c.outcome).where(FEEDBACK.c.prediction_id.in_(prediction_ids))
        with self._reader.connect() as connection:
            return {id_: outcome for id_, outcome in connection.execute(asked)}

    def begin(self, artifact: str) -> None:
        """Have this replica's totals of an artifact from now on, at zero where nothing is counted.

        Args:
            artifact: its tag.

        Raises:
            SQLAlchemyError: as `add`.
        """
        with self._engine.begin() as connection:
            promise(connection)
            begin(connection, self._replica, artifact)

    def totals(self) -> dict[tuple[str, str], ScopeTotals]:
        """What this replica has counted, by artifact and scope; zeros for those that only other replicas have counted.

        Overwritten labels stay as they were counted first, so that totals only grow.

        Raises:
            SQLAlchemyError: as `add`.
        """
        with self._reader.connect() as connection:
            promise(connection)
            return totals_of(connection, self._replica)

    def judged(self, artifact: str, scope: str, since: float | None = None) -> ScopeTotals:
        """What an artifact's predictions in a scope were worth, of all replicas, by the last label of each.

        Args:
            artifact: its tag.
            scope: "base" or "new".
            since: leave out what came before, seconds since 1970.

        Raises:
            SQLAlchemyError: as `add`.
        """
        with self._reader.connect() as connection:
            promise(connection)
            return judged(connection, artifact, scope, since)

    def events(self, artifacts: Sequence[str] | None = None, since: float | None = None) -> Iterator[StoredFeedback]:
        """Everything that is kept, in the order in which it came.

        Args:
            artifacts: of these alone.
            since: leave out what came before, seconds since 1970.

        Raises:
            SQLAlchemyError: as `add`.
        """
        asked = select(FEEDBACK).order_by(FEEDBACK.c.received, FEEDBACK.c.prediction_id)
        if artifacts is not None:
            asked = asked.where(FEEDBACK.c.artifact.in_(artifacts))
        if since is not None:
            asked = asked.where(FEEDBACK.c.received >= since)
        with self._reader.connect() as connection:
            for row in connection.execution_options(yield_per=PAGE).execute(asked):
                yield stored_of(row)

    def rebuild(self) -> None:
        """Make the totals of all replicas anew from the rows.

        They are as they were where nothing was changed by hand; but labels that were overwritten are now counted with the
        replica that took the first label, not with the one that took the last.

        Raises:
            SQLAlchemyError: as `add`.
        """
        with self._engine.begin() as connection:
            recount(connection)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


_CHANGE = (
    update(FEEDBACK)
    .where(FEEDBACK.c.prediction_id == bindparam("id"))
    .values(
        label=bindparam("new_label"),
        outcome=bindparam("new_outcome"),
        overwritten=FEEDBACK.c.overwritten + bindparam("times"),
    )
)


def _insert(connection: Connection, feedback: Sequence[Feedback], replica: str) -> set[str]:
    """Insert what is not there yet; ids that were inserted. Ids are sorted: two transactions never wait for each other."""
    insert = inserting(connection, FEEDBACK).on_conflict_do_nothing(index_elements=[FEEDBACK.c.prediction_id])
    rows = [row_of(each, replica) for each in feedback]
    return set(connection.execute(insert.returning(FEEDBACK.c.prediction_id), rows).scalars())


def _labels(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """The labels that are kept, by id; the rows are held to the end of the transaction."""
    row = FEEDBACK.c
    asked = select(row.prediction_id, row.label).where(row.prediction_id.in_(ids)).order_by(row.prediction_id)
    return {id_: label for id_, label in connection.execute(asked.with_for_update())} if ids else {}


def _judged(
    feedback: Sequence[Feedback], overwrite: Sequence[bool], new: set[str], labels: dict[str, str]
) -> tuple[list[Status], dict[str, tuple[Feedback, int]]]:
    """What becomes of each, one after the other, and the last change of each row with the number of its changes."""
    statuses: list[Status] = []
    changes: dict[str, tuple[Feedback, int]] = {}
    for each, may in zip(feedback, overwrite, strict=True):
        id_ = each.receipt.id
        if id_ in new and id_ not in labels:
            status: Status = "stored"
        elif _same(labels[id_], each.label):
            status = "repeated"
        else:
            status = "overwritten" if may else "conflict"
        if status == "overwritten":
            changes[id_] = each, changes.get(id_, (each, 0))[1] + 1
        if status in ("stored", "overwritten"):
            labels[id_] = each.label
        statuses.append(status)
    return statuses, changes


def _same(one: str, other: str) -> bool:
    return readable(one).casefold() == readable(other).casefold()


def _changed(feedback: Feedback, times: int) -> dict[str, Any]:
    return {"id": feedback.receipt.id, "new_label": feedback.label, "new_outcome": feedback.outcome, "times": times}


def _count(tally: Tally, feedback: Feedback, status: Status) -> None:
    receipt = feedback.receipt
    if status == "overwritten":
        tally.overwritten(receipt.artifact, receipt.scope)
    elif status == "stored" and feedback.outcome == OUTSIDE:
        tally.outside(receipt.artifact, receipt.scope, receipt.known)
    elif status == "stored":
        correct, bin_ = feedback.outcome == "correct", bin_of(receipt.confidence)
        tally.judged(receipt.artifact, receipt.scope, bin_, receipt.confidence, correct)
