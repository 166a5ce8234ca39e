"""Databases that cannot be used are said so in a sentence; tables are what the code takes them for."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from candor.errors import InvalidInput
from service.feedback import database
from service.feedback.database import open_database, open_existing, reason
from service.feedback.schema import METADATA, VERSION_TABLE
from service.feedback.store import FeedbackStore
from tests.service.feedback.made import told


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "cannot be read; give sqlite:////DIRECTORY/feedback.db or postgresql://"),
        ("no url of hunter2", "cannot be read"),
        ("postgresql://me:hunter2@host:port/x", "cannot be read"),
        ("mysql://me:hunter2@host/x", "'mysql' is no feedback database; give sqlite"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:////proc/nowhere/feedback.db", "/proc/nowhere/feedback.db cannot be used: No such file or directory"),
        ("postgresql://me:hunter2@127.0.0.1:1/x", r"me:\*\*\*@127.0.0.1:1/x cannot be used: .*[Cc]onnection refused"),
        ("postgres://me:hunter2@127.0.0.1:1/x?sslpassword=hunter2", "127.0.0.1:1/x cannot be used: "),
        ("postgresql://127.0.0.1:1/x?hunter2=1", "cannot be used: ProgrammingError"),
    ],
)
def test_what_cannot_be_used_is_a_sentence_without_passwords(url: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        open_database(url)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InvalidInput, match=r"needs psycopg: pip install 'candor\[postgresql\]'"):
        open_database("postgresql://host/x")


def test_another_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but longer than the header of one" * 20)
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="not a database"):
        open_database(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_tables_of_a_newer_candor_are_refused(url: str) -> None:
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(InvalidInput, match=r"is of a newer Candor \(its tables are 9999\)"):
        open_database(url)


def test_the_migrations_make_the_tables_that_the_code_has(url: str) -> None:
    engine = open_database(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_opening_again_keeps_what_is_there(url: str) -> None:
    for expected in ("stored", "repeated", "repeated"):
        store = FeedbackStore.open(url, "one")
        assert store.add([told("1")], [False]) == [expected]
        store.close()


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'feedback.db'}"
    other = sa.create_engine(url)
    with other.begin() as connection:
        connection.execute(sa.text("CREATE TABLE candor_feedback_counts (x INTEGER)"))  # the last table of the migration
    with pytest.raises(InvalidInput, match="already exists"):
        open_database(url)
    assert sa.inspect(other).get_table_names() == ["candor_feedback_counts"]
    other.dispose()


def test_reasons_hold_no_values_of_rows(url: str) -> None:
    engine = open_database(url)
    with engine.connect() as connection:
        with pytest.raises(sa.exc.SQLAlchemyError) as caught:
            connection.execute(sa.text("INSERT INTO candor_feedback (prediction_id) VALUES ('my secret label')"))
        assert reason(caught.value) == "IntegrityError"
        assert "secret label" not in str(caught.value.__class__)
    engine.dispose()
    assert reason(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize("reads", [True, False])
def test_a_reader_makes_and_migrates_nothing(tmp_path: Path, reads: bool) -> None:
    path = tmp_path / "a b?%20#.db"
    url = sa.URL.create("sqlite", database=str(path)).render_as_string()
    with pytest.raises(InvalidInput, match="there is no feedback database"):
        open_existing(url, reads)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidInput, match="cannot be used: File name too long"):
        open_existing(f"sqlite:///{tmp_path / ('x' * 300)}", reads)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x INTEGER)")
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="holds no feedback of Candor"):
        open_existing(url, reads)
    assert path.read_bytes() == before


def test_a_reader_of_another_version_and_of_this_one(url: str) -> None:
    store = FeedbackStore.open(url, "one")
    store.add([told("1")], [False])
    reader = FeedbackStore.existing(url, reads=True)
    assert [event.prediction_id for event in reader.events()] == ["1"]
    if url.startswith("sqlite"):
        with pytest.raises(sa.exc.OperationalError, match="readonly"):
            reader.rebuild()
    reader.close()
    with store._engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '0000'"))
    with pytest.raises(InvalidInput, match=r"is of a newer Candor \(its tables are 0000\)"):
        open_existing(url)
    store.close()


def test_a_reader_does_not_migrate_an_older_one(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database(url).dispose()
    monkeypatch.setattr(ScriptDirectory, "get_heads", lambda _: ["9999"])
    with pytest.raises(InvalidInput, match="is of an older Candor"):
        open_existing(url)


def test_a_fresh_file_that_another_process_writes_is_waited_for(tmp_path: Path) -> None:
    """SQLite does not wait by itself where the journal's mode is to change."""
    path = tmp_path / "feedback.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ending = threading.Timer(0.3, other.rollback)
    ending.start()
    engine = open_database(f"sqlite:///{path}")
    assert ending.finished.is_set()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    engine.dispose()
    ending.join()
    other.close()


def test_a_file_that_stays_locked_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    path = tmp_path / "feedback.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InvalidInput, match="database is locked"):
            open_database(f"sqlite:///{path}")


def test_a_postgresql_that_vanishes_is_noticed_and_the_url_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, object]] = []

    def refuse(*_: object, connect_args: dict[str, object], **__: object) -> None:
        given.append(connect_args)
        raise ImportError

    monkeypatch.setattr(database, "create_engine", refuse)
    for url in ("postgresql://host/x", "postgresql://host/x?tcp_user_timeout=3000"):
        with pytest.raises(InvalidInput):
            open_database(url)
    assert (given[0]["tcp_user_timeout"], given[0]["keepalives"], given[0]["client_encoding"]) == (10_000, 1, "utf8")
    assert given[1] == {name: value for name, value in given[0].items() if name != "tcp_user_timeout"}
