"""`candor simulate` refuses what cannot work before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


def test_without_prometheus_it_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt install prometheus" in refused("--out", str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `prometheus` on the PATH; nothing here comes as far as starting it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "prometheus").write_text("#!/bin/sh\nexit 1\n")
    (folder / "prometheus").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--index", "somewhere"), "--index belongs to an --artifact"),
        (("--artifact", "nowhere"), "expected a file, found nothing"),
        (("--compress", "901"), "equal to 900"),
        (("--rate", "nan"), "--rate"),
        (("--rate", "4.9"), "too few labels in a window of 30 s; take 5 or more"),
        (("--rate", "6", "--compress", "900"), "too few labels in a window of 24 s; take 7 or more"),
        (("--seed", "-1"), "equal to 0"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_stays(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert said in refused("--out", str(tmp_path / "out"), *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


@pytest.mark.usefixtures("program")
def test_a_folder_that_is_no_simulation_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text").write_text("mine")
    assert "timeline.json" in refused("--out", str(tmp_path / "thesis"), "--replace")
    assert (tmp_path / "thesis" / "text").read_text() == "mine"
