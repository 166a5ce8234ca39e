"""A tuned artifact, an index, and the real service in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.server import running_service


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
