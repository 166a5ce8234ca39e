"""The one table that shows accuracy and calibration on base and new classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from rich.table import Table

from candor.clip.artifact import SCOPES, Scope

COLUMNS = ("accuracy", "confidence", "ece", "fd")

Cell = TypeVar("Cell")


def scope_table(title: str, rows: Mapping[str, Mapping[Scope, Mapping[str, Cell]]], show: Callable[[Cell], str]) -> Table:
    """A row a classifier, with four figures of each scope.

    Args:
        title: over the table.
        rows: classifier -> scope -> figure -> value.
        show: how a value is written.
    """
    table = Table("method", title=title)
    for scope in SCOPES:
        for column in COLUMNS:
            table.add_column(f"{scope} {column}", justify="right")
    for name, scopes in rows.items():
        table.add_row(name, *(show(scopes[scope][column]) for scope in SCOPES for column in COLUMNS))
    return table
