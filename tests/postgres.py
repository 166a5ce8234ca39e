"""A real PostgreSQL of this run's own, from Debian's package."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from cli.server import free_port

PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
POSTGRES = shutil.which("postgres") or (str(PLACES[-1]) if PLACES else None)
PATIENCE = 30.0  # seconds


@contextmanager
def running_postgres() -> Iterator[str]:
    """The server's URL, without a database. It runs as another user where this is root, which it refuses to be."""
    assert POSTGRES
    directory = Path(tempfile.mkdtemp(prefix="candor-postgres-"))
    others: dict[str, object] = {}
    if os.getuid() == 0:
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
        os.chown(directory, user.pw_uid, user.pw_gid)
        others = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    port, data = free_port(), str(directory / "data")
    initdb = [str(Path(POSTGRES).with_name("initdb")), "-D", data, "-U", "candor", "-A", "trust", "-E", "UTF8", "--no-sync"]
    try:
        subprocess.run([*initdb, "--locale=C"], check=True, capture_output=True, cwd=directory, **others)
        command = [POSTGRES, "-D", data, "-k", str(directory), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        with (directory / "log").open("wb") as log:
            server = subprocess.Popen([*command, "-c", "fsync=off"], stdout=log, stderr=log, cwd=directory, **others)
        try:
            _wait(f"postgresql+psycopg://candor@127.0.0.1:{port}/postgres", server)
            yield f"postgresql://candor@127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGINT)  # ends its sessions, and itself
            server.wait(PATIENCE)
    finally:
        shutil.rmtree(directory)


def new_database(server: str, name: str) -> str:
    """The URL of an empty database."""
    engine = sa.create_engine(
        f"{server}/postgres".replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    return f"{server}/{name}"


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None:
        try:
            with engine.connect():
                return
        except sa.exc.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    raise AssertionError(f"PostgreSQL ended with {server.returncode}")
