"""A tuned artifact, an index, and the real service in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.server import free_port, running_service
from service.guard.keys import KeySet, NamedKey, digest, new_key, write_keys


def run_cli(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `artifact` and `index`, made by the commands a user would run."""
    root = tmp_path_factory.mktemp("built")
    run_cli("vocab", "build", "--source", "glyphs", "--out", str(root / "index"))
    arguments = ("--index", str(root / "index"), "--out", str(root / "artifact"), "--dataset", "glyphs/emblems-and-notes")
    run_cli("tune", *arguments, "--epochs", "20", "--json")
    return root


@pytest.fixture(scope="session")
def service(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("service") / "service.log"
    with running_service(built / "artifact", built / "index", log) as url:
        yield url


@pytest.fixture(scope="session")
def key() -> str:
    """An API key of `guarded`."""
    return new_key()


@pytest.fixture(scope="session")
def origin() -> str:
    """Whose pages may ask `guarded`."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="session")
def guarded(built: Path, key: str, origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service with keys, for pages of `origin`, and with limits that tests reach."""
    directory = tmp_path_factory.mktemp("guarded")
    known = NamedKey(name="tests", role="admin", sha256=digest(key.encode()))
    (directory / "keys.json").write_text(write_keys(KeySet(keys=(known,))))
    (directory / "keys.json").chmod(0o600)
    environment = {
        "CANDOR_KEYS": str(directory / "keys.json"),
        "CANDOR_CORS_ORIGINS": json.dumps([origin]),
        "CANDOR_MAX_IMAGES": "5",
        "CANDOR_MAX_LABELS": "10",
    }
    with running_service(built / "artifact", built / "index", directory / "log", environment=environment) as url:
        yield url
