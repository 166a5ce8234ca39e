"""The first tables: a row a prediction, and the totals that are exported."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "candor_feedback",
        sa.Column("prediction_id", sa.String(64), primary_key=True),
        sa.Column("artifact", sa.Text, nullable=False),
        sa.Column("scope", sa.String(8), nullable=False),
        sa.Column("predicted", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(8), nullable=False),
        sa.Column("counted", sa.String(8), nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("bin", sa.SmallInteger, nullable=False),
        sa.Column("known", sa.String(8), nullable=False),
        sa.Column("multiplier", sa.Double, nullable=False),
        sa.Column("gamma", sa.Double),
        sa.Column("curve", sa.LargeBinary, nullable=False),
        sa.Column("issued", sa.Double, nullable=False),
        sa.Column("received", sa.Double, nullable=False),
        sa.Column("replica", sa.String(64), nullable=False),
        sa.Column("overwritten", sa.Integer, nullable=False),
    )
    op.create_index("candor_feedback_by_time", "candor_feedback", ["artifact", "received"])
    keys = (("replica", sa.String(64)), ("artifact", sa.Text()), ("scope", sa.String(8)))
    op.create_table(
        "candor_feedback_totals",
        *(sa.Column(name, kind, primary_key=True) for name, kind in keys),
        sa.Column("bin", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("correct", sa.BigInteger, nullable=False),
        sa.Column("squared_error", sa.Double, nullable=False),
    )
    op.create_table(
        "candor_feedback_counts",
        *(sa.Column(name, kind, primary_key=True) for name, kind in keys),
        sa.Column("what", sa.String(24), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
