"""What is known by now of an artifact's predictions: of all replicas, by the last label of each."""

from __future__ import annotations

from sqlalchemy import Connection, case, func, select

from service.feedback.schema import FEEDBACK
from service.feedback.tallies import OUTSIDE, ScopeTotals, bins_of


def judged(connection: Connection, artifact: str, scope: str, since: float | None = None) -> ScopeTotals:
    """Sums of the feedback of one artifact and scope.

    Args:
        connection: of a database with the tables.
        artifact: its tag.
        scope: "base" or "new".
        since: leave out what came before, seconds since 1970.
    """
    row = FEEDBACK.c
    mine = [row.artifact == artifact, row.scope == scope]
    if since is not None:
        mine.append(row.received >= since)
    correct = case((row.outcome == "correct", 1), else_=0)
    off = row.confidence - correct
    sums = (
        func.count().label("count"),
        func.sum(row.confidence).label("confidence"),
        func.sum(correct).label("correct"),
        func.sum(off * off).label("squared_error"),
    )
    rows = connection.execute(select(row.bin, *sums).where(*mine, row.outcome != OUTSIDE).group_by(row.bin)).all()
    outside = select(row.known, func.count()).where(*mine, row.outcome == OUTSIDE).group_by(row.known)
    changed = select(func.coalesce(func.sum(row.overwritten), 0)).where(*mine)
    return ScopeTotals(
        bins_of(rows),
        sum(each.squared_error for each in rows),
        {known: number for known, number in connection.execute(outside)},
        connection.execute(changed).scalar_one(),
    )
