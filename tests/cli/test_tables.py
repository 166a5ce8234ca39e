"""The tables show what they are given: no name becomes markup, and a distance is no percentage."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console
from rich.table import Table

from cli.console import console, progress_bar
from cli.tables import DETAILS, detail_table, distance, percent, scope_table

FIGURES = {"accuracy": 0.725, "confidence": 0.5, "ece": 0.031, "fd": 1.2544}
NAMES = ("coop[bold]", "a[/]b", "runs/[x]", ":cat:", "ends in \\")


def shown(table: Table, width: int = 200) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(table)
    return text.getvalue()


def test_fd_is_a_distance_and_the_rest_percent() -> None:
    rows = {"coop": {"base": FIGURES, "new": FIGURES | {"fd": math.nan}}}
    lines = [line.split() for line in shown(scope_table("t", rows, percent, distance)).splitlines() if line.strip()]
    assert lines[0] == ["t"]
    one_scope = "{0} acc % {0} conf % {0} ECE % {0} FD"
    assert lines[1] == ["method", *one_scope.format("base").split(), *one_scope.format("new").split()]
    assert lines[-1] == ["coop", "72.5", "50.0", "3.1", "1.254", "72.5", "50.0", "3.1", "–"]


@pytest.mark.parametrize("name", NAMES)
def test_names_and_titles_are_no_markup(name: str) -> None:
    details = {"base": dict.fromkeys(DETAILS, 0.5)}
    for table in (scope_table(name, {name: {"base": FIGURES}}, percent, distance), detail_table(name, {name: details})):
        assert shown(table).count(name) == 2


@pytest.mark.parametrize("name", NAMES)
def test_what_commands_print_is_no_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.print(name, soft_wrap=True)
    assert capsys.readouterr().out == f"{name}\n"
    bar = progress_bar()
    bar.disable = False
    task = bar.add_task(name)
    assert str(bar.columns[0](bar.tasks[task])) == name
