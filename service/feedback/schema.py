"""The tables of the feedback store. A change here needs a migration beside it; a test compares the two."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import postgresql, sqlite

METADATA = MetaData()
VERSION_TABLE = "candor_feedback_version"  # alembic's own; the database may be shared with others, hence the names

# One row a prediction. `label` and `outcome` are the last that was said, `counted` is the outcome that the totals hold:
# that of the first label, since counters never go down.
FEEDBACK = Table(
    "candor_feedback",
    METADATA,
    Column("prediction_id", String(64), primary_key=True),
    Column("artifact", Text, nullable=False),
    Column("scope", String(8), nullable=False),
    Column("predicted", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("outcome", String(8), nullable=False),
    Column("counted", String(8), nullable=False),
    Column("confidence", Double, nullable=False),
    Column("bin", SmallInteger, nullable=False),
    Column("known", String(8), nullable=False),
    Column("multiplier", Double, nullable=False),
    Column("gamma", Double),
    Column("curve", LargeBinary, nullable=False),  # float32, little-endian
    Column("issued", Double, nullable=False),  # seconds since 1970
    Column("received", Double, nullable=False),  # of the first label
    Column("replica", String(64), nullable=False),  # that took the first label
    Column("overwritten", Integer, nullable=False),  # times
    Index("candor_feedback_by_time", "artifact", "received"),
)

# What Prometheus sees: sums over the first labels that a replica took.
TOTALS = Table(
    "candor_feedback_totals",
    METADATA,
    Column("replica", String(64), primary_key=True),
    Column("artifact", Text, primary_key=True),
    Column("scope", String(8), primary_key=True),
    Column("bin", SmallInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("confidence", Double, nullable=False),
    Column("correct", BigInteger, nullable=False),
    Column("squared_error", Double, nullable=False),
)

# What is beside the bins: "outside_true", "outside_false" and "outside_unscored" by `known`, and "overwritten".
COUNTS = Table(
    "candor_feedback_counts",
    METADATA,
    Column("replica", String(64), primary_key=True),
    Column("artifact", Text, primary_key=True),
    Column("scope", String(8), primary_key=True),
    Column("what", String(24), primary_key=True),
    Column("count", BigInteger, nullable=False),
)


def inserting(connection: Connection, table: Table) -> Any:
    """An insert that may say what is done where a row is there: its `on_conflict_...` is of either database's own.

    Args:
        connection: to the database.
        table: of the rows.
    """
    # Any: the two have the same shape, but no type in common that has it
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
