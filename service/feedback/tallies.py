"""What feedback adds to the totals: the sums that calibration scores are functions of."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Connection, Insert, Row, Table, case, delete, func, insert, literal, select, text

from candor.calibration.bins import ReliabilityBins
from candor.clip.artifact import SCOPES
from service.feedback.bins import N_BINS
from service.feedback.schema import COUNTS, FEEDBACK, TOTALS, inserting

OUTSIDE = "outside"
OVERWRITTEN = "overwritten"
SUMS = ("count", "confidence", "correct", "squared_error")
ROUNDING = 1e-9  # of sums that were added in another order; counts are less than its inverse


@dataclass(frozen=True)
class ScopeTotals:
    """What one replica has counted of one artifact and scope.

    Attributes:
        bins: of the feedback whose true label was one of the request's, 20 of them.
        squared_error: sum of (confidence - correct)^2 of the same.
        outside: feedback whose true label was none of the request's, by `known`.
        overwritten: labels that were replaced by another one.
    """

    bins: ReliabilityBins
    squared_error: float = 0.0
    outside: dict[str, int] = field(default_factory=dict)
    overwritten: int = 0

    @classmethod
    def none(cls) -> ScopeTotals:
        """Nothing counted yet."""
        return cls(bins_of(()))


class Tally:
    """Sums of some feedback, to be added to the totals of a replica."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, int], list[float]] = defaultdict(lambda: [0, 0.0, 0, 0.0])
        self._counts: dict[tuple[str, str, str], int] = defaultdict(int)

    def outside(self, artifact: str, scope: str, known: str) -> None:
        """Count a label that was none of the request's."""
        self._counts[artifact, scope, f"{OUTSIDE}_{known}"] += 1

    def overwritten(self, artifact: str, scope: str) -> None:
        """Count a label that was replaced."""
        self._counts[artifact, scope, OVERWRITTEN] += 1

    def judged(self, artifact: str, scope: str, bin_: int, confidence: float, correct: bool) -> None:
        """Count a prediction that was right or wrong."""
        added = (1, confidence, correct, (confidence - correct) ** 2)
        sums = self._sums[artifact, scope, bin_]
        self._sums[artifact, scope, bin_] = [a + b for a, b in zip(sums, added, strict=True)]

    def store(self, connection: Connection, replica: str) -> None:
        """Add the sums to the totals, in a fixed order: two transactions never wait for each other."""
        totals = [
            {"replica": replica, "artifact": a, "scope": s, "bin": b} | dict(zip(SUMS, self._sums[a, s, b], strict=True))
            for a, s, b in sorted(self._sums)
        ]
        counts = [
            {"replica": replica, "artifact": a, "scope": s, "what": w, "count": self._counts[a, s, w]}
            for a, s, w in sorted(self._counts)
        ]
        for table, rows in ((TOTALS, totals), (COUNTS, counts)):
            if rows:
                connection.execute(_adding(connection, table), rows)


def recount(connection: Connection) -> None:
    """Make the totals of all replicas anew, from the rows."""
    if connection.dialect.name == "postgresql":  # whoever has stored rows, but not yet their totals, waits
        connection.execute(text(f"LOCK TABLE {TOTALS.name}, {COUNTS.name} IN SHARE ROW EXCLUSIVE MODE"))
    row = FEEDBACK.c
    correct = case((row.counted == "correct", 1), else_=0)
    where = (row.replica, row.artifact, row.scope)
    off = row.confidence - correct
    sums = (func.count(), func.sum(row.confidence), func.sum(correct), func.sum(off * off))
    judged = select(*where, row.bin, *sums).where(row.counted != OUTSIDE).group_by(*where, row.bin)
    outside = select(*where, literal(f"{OUTSIDE}_") + row.known, func.count()).where(row.counted == OUTSIDE)
    changed = select(*where, literal(OVERWRITTEN), func.sum(row.overwritten)).where(row.overwritten > 0)
    keys = [*TOTALS.c.keys()]
    counted = [dict(zip(keys, found, strict=True)) for found in connection.execute(judged)]
    present = {_key(held): held for held in map(dict, connection.execute(select(TOTALS)).mappings())}
    for table in (TOTALS, COUNTS):
        connection.execute(delete(table))
    if counted:
        connection.execute(insert(TOTALS), [_unless_the_same(new, present.get(_key(new))) for new in counted])
    connection.execute(insert(COUNTS).from_select([*COUNTS.c.keys()], outside.group_by(*where, row.known)))
    connection.execute(insert(COUNTS).from_select([*COUNTS.c.keys()], changed.group_by(*where)))


def _key(total: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(total[column.name] for column in TOTALS.primary_key)


def _unless_the_same(new: dict[str, Any], present: dict[str, Any] | None) -> dict[str, Any]:
    """The present sums where they differ by rounding alone: a counter that falls by the last bit is taken for a reset."""
    same = present is not None and all(math.isclose(new[name], present[name], rel_tol=ROUNDING) for name in SUMS)
    return present if present is not None and same else new


def begin(connection: Connection, replica: str, artifact: str) -> None:
    """Have totals of an artifact, at zero where there are none: those of labels that come after a restart count on."""
    nothing = {"replica": replica, "artifact": artifact, "bin": 0} | dict.fromkeys(SUMS, 0)
    connection.execute(
        inserting(connection, TOTALS).on_conflict_do_nothing(), [nothing | {"scope": scope} for scope in SCOPES]
    )


def totals_of(connection: Connection, replica: str) -> dict[tuple[str, str], ScopeTotals]:
    """The totals of a replica by artifact and scope; at zero where only another replica has any."""
    by_scope: dict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for table in (TOTALS, COUNTS):
        for artifact, scope in connection.execute(select(table.c.artifact, table.c.scope).distinct()):
            by_scope[artifact, scope] = []
    for row in connection.execute(select(TOTALS).where(TOTALS.c.replica == replica)):
        by_scope[row.artifact, row.scope].append(row)
    for row in connection.execute(select(COUNTS).where(COUNTS.c.replica == replica)):
        counts[row.artifact, row.scope][row.what] = row._mapping["count"]  # a row has a method of that name
    return {key: _scope_totals(rows, counts[key]) for key, rows in by_scope.items()}


def bins_of(rows: Sequence[Row[Any]]) -> ReliabilityBins:
    """Bins of rows that have `bin`, `count`, `confidence` and `correct`, each bin at most once."""
    table = np.zeros((3, N_BINS))
    for row in rows:
        held = row._mapping
        table[:, held["bin"]] = held["count"], held["confidence"], held["correct"]
    return ReliabilityBins(*table)


def _scope_totals(rows: Sequence[Row[Any]], counts: dict[str, int]) -> ScopeTotals:
    outside = {what.removeprefix(f"{OUTSIDE}_"): n for what, n in counts.items() if what != OVERWRITTEN}
    return ScopeTotals(bins_of(rows), sum(row.squared_error for row in rows), outside, counts.get(OVERWRITTEN, 0))


def _adding(connection: Connection, table: Table) -> Insert:
    """The insert that adds to what is there."""
    insert_ = inserting(connection, table)
    sums = [column.name for column in table.columns if not column.primary_key]
    added = {name: table.c[name] + insert_.excluded[name] for name in sums}
    result: Insert = insert_.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=added)
    return result
