"""What alembic runs: the changes, in the transaction of the connection that it is given."""

from __future__ import annotations

from alembic import context

from service.feedback.schema import METADATA, VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
