"""A feedback database, opened: its URL checked, its tables brought up to date, and its guarantees set."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    ProgrammingError,
    SQLAlchemyError,
)

from candor.errors import InvalidInput
from service.feedback.schema import VERSION_TABLE

MIGRATIONS = Path(__file__).parent / "migrations"
KINDS = "sqlite:////DIRECTORY/feedback.db or postgresql://USER:PASSWORD@HOST/DATABASE"
READS = "candor_reads"  # an execution option: the transaction only reads
BUSY_SECONDS = 10  # that a transaction waits for those of other processes
BUSY_PAUSE = 0.02  # seconds between tries
CONNECT_SECONDS = 5
LOST = {  # a server that vanished is noticed: nothing waits for it longer than this
    "tcp_user_timeout": BUSY_SECONDS * 1000,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
MIGRATING = 0xCA4D07  # of PostgreSQL's advisory locks: one process migrates, the others wait
SQLITE_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}",
    "PRAGMA journal_mode = WAL",  # readers wait for nobody
    "PRAGMA synchronous = FULL",  # else what is acknowledged could be lost with the machine's power
)
POSTGRESQL_PROMISE = text(
    f"SELECT set_config('statement_timeout', '{BUSY_SECONDS * 1000}', true), set_config('synchronous_commit',"
    " CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)"
)


def open_database(url: str) -> Engine:
    """An engine for a database whose tables are up to date.

    Args:
        url: of SQLAlchemy, for a SQLite file (made where it is missing) or PostgreSQL.

    Raises:
        InvalidInput: it is no such URL, its driver is missing, or the database cannot be reached, is damaged, or is of a
            newer Candor. No message holds a password.
    """
    parsed = _parsed(url)
    engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
    with _usable(engine, parsed), engine.begin() as connection:
        _migrate(connection)
    return engine


def open_existing(url: str, reads: bool = False) -> Engine:
    """An engine for a database that is there and up to date: nothing is made, nothing is migrated.

    Args:
        url: as `open_database`.
        reads: a SQLite file is opened for reading only.

    Raises:
        InvalidInput: as `open_database`, or there is no database, it holds no feedback, or it is of an older Candor.
    """
    parsed = _parsed(url)
    engine = _existing_sqlite(parsed, reads) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
    with _usable(engine, parsed), engine.execution_options(**{READS: True}).begin() as connection:
        _check_current(connection)
    return engine


@contextmanager
def _usable(engine: Engine, url: URL) -> Iterator[None]:
    """Turn what a new engine cannot do in the block into InvalidInput, and close it then."""
    try:
        yield
    except SQLAlchemyError as error:
        engine.dispose()
        raise InvalidInput(f"the feedback database {_place(url)} cannot be used: {_without(url, reason(error))}") from None
    except InvalidInput as error:
        engine.dispose()
        raise InvalidInput(f"the feedback database {_place(url)} {error}") from None


def promise(connection: Connection) -> None:
    """In a transaction that callers wait for: what is committed is on the server's disk, and it does not hang for ever."""
    if connection.dialect.name == "postgresql":
        connection.execute(POSTGRESQL_PROMISE)


def reason(error: Exception) -> str:
    """Why a database did not do what it was asked: the first line of what it says.

    Where that line may hold a value of a row, the kind of error alone.
    """
    said = str(error.orig).strip() if isinstance(error, DatabaseError) and _plain(error) else ""
    return said.splitlines()[0] if said else type(error).__name__


def _plain(error: DBAPIError) -> bool:
    return not isinstance(error, (DataError, IntegrityError, ProgrammingError))


@contextmanager
def as_input() -> Iterator[None]:
    """Turn what a database refuses in the block into InvalidInput, for commands."""
    try:
        yield
    except SQLAlchemyError as error:
        raise InvalidInput(f"the feedback database cannot be used: {reason(error)}") from None


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError, SQLAlchemyError):
        raise InvalidInput(f"the feedback database's URL cannot be read; give {KINDS}, or off") from None
    if backend == "postgres":
        backend = "postgresql"
    if backend not in ("sqlite", "postgresql"):
        raise InvalidInput(f"{backend[:40]!r} is no feedback database; give {KINDS}, or off")
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
        raise InvalidInput("a feedback database in SQLite needs a file: sqlite:////DIRECTORY/feedback.db")
    return parsed.set(drivername="sqlite")


def _place(url: URL) -> str:
    """A database as messages name it."""
    return url.set(query={}).render_as_string()


def _without(url: URL, said: str) -> str:
    """What a driver says, without the password of its URL."""
    return said.replace(str(url.password), "***") if url.password else said


def _sqlite(url: URL) -> Engine:
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # its -wal and -shm files take the same mode
    except OSError as error:
        raise InvalidInput(f"the feedback database {path} cannot be used: {error.strerror}") from error
    return _transactional(create_engine(url, hide_parameters=True), SQLITE_PRAGMAS)


def _existing_sqlite(url: URL, reads: bool) -> Engine:
    path = Path(str(url.database))
    try:
        there = path.is_file()
    except OSError as error:
        raise InvalidInput(f"the feedback database {path} cannot be used: {error.strerror}") from error
    if not there:
        raise InvalidInput(f"there is no feedback database {path}")
    options = {"mode": "ro" if reads else "rw", "uri": "true"}
    named = url.set(database=f"file:{quote(str(path.resolve()))}").update_query_dict(options)
    pragmas = [pragma for pragma in SQLITE_PRAGMAS if "journal_mode" not in pragma]  # a file keeps it, and it writes
    return _transactional(create_engine(named, hide_parameters=True), pragmas)


def _transactional(engine: Engine, pragmas: Iterable[str]) -> Engine:
    """Let SQLAlchemy begin the transactions of SQLite, after some pragmas."""

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # else the driver begins transactions by itself, late and not IMMEDIATE
        for pragma in pragmas:
            _when_free(connection, pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READS, False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _when_free(connection: Any, pragma: str) -> None:
    """Execute a statement; wait for other processes where SQLite does not by itself, as with journal_mode."""
    last = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(pragma).close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                raise
        time.sleep(BUSY_PAUSE)


def _postgresql(url: URL) -> Engine:
    given = {"connect_timeout": CONNECT_SECONDS, "application_name": "candor", "client_encoding": "utf8"} | LOST
    arguments = {name: value for name, value in given.items() if name not in url.query}
    try:
        return create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=arguments)
    except ImportError:
        raise InvalidInput("a feedback database in PostgreSQL needs psycopg: pip install 'candor[postgresql]'") from None


def _migrate(connection: Connection) -> None:
    """Bring the tables up to date, within the connection's transaction: wholly, or not at all."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATING)))
    found, config, scripts = _revisions(connection)
    if found != set(scripts.get_heads()):
        command.upgrade(config, "head")


def _check_current(connection: Connection) -> None:
    found, _, scripts = _revisions(connection)
    if not found:
        raise InvalidInput("holds no feedback of Candor")
    if found != set(scripts.get_heads()):
        raise InvalidInput("is of an older Candor; the service of this one brings it up to date")


def _revisions(connection: Connection) -> tuple[set[str], Config, ScriptDirectory]:
    """What the tables are, and what they should be."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    found = set(MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads())
    if unknown := found - {script.revision for script in scripts.walk_revisions()}:
        raise InvalidInput(f"is of a newer Candor (its tables are {', '.join(sorted(unknown))}); take that one")
    return found, config, scripts
