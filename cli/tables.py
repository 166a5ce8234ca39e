"""The tables that show accuracy and calibration on base and new classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from candor.calibration.open_set import OpenSetThreshold
from candor.clip.artifact import SCOPES, Scope

COLUMNS = ("accuracy", "confidence", "ece", "fd")
HEADS = {"accuracy": "acc %", "confidence": "conf %", "ece": "ECE %", "fd": "FD"}
# figure -> (head, factor, digits); the second table
DETAILS = {
    "accuracy": ("acc %", 100, 1),
    "ece": ("ECE %", 100, 1),
    "ece_noise_floor": ("floor %", 100, 1),
    "ace": ("ACE %", 100, 1),
    "mce": ("MCE %", 100, 1),
    "piece": ("PIECE %", 100, 1),
    "brier": ("Brier", 1, 3),
    "nll": ("NLL nats", 1, 3),
}
MISSING = "–"

Cell = TypeVar("Cell")


def percent(value: float) -> str:
    """A fraction in percent with one digit; a dash for NaN."""
    return MISSING if math.isnan(value) else f"{100 * value:.1f}"


def distance(value: float) -> str:
    """A distance as it is, with three digits; a dash for NaN."""
    return MISSING if math.isnan(value) else f"{value:.3f}"


def scope_table(
    title: str,
    rows: Mapping[str, Mapping[Scope, Mapping[str, Cell]]],
    percent: Callable[[Cell], str],
    distance: Callable[[Cell], str],
) -> Table:
    """A row a classifier, with four figures of each scope; a scope that it lacks is dashes.

    Args:
        title: over the table.
        rows: classifier -> scope -> figure -> value.
        percent: how a fraction is written.
        distance: how FD is written; it is no fraction (0..2).
    """
    table = _table(title)
    show = {column: distance if column == "fd" else percent for column in COLUMNS}
    for scope in SCOPES:
        for column in COLUMNS:
            table.add_column(f"{scope} {HEADS[column]}", justify="right")
    for name, scopes in rows.items():
        cells = (show[c](scopes[s][c]) if s in scopes else MISSING for s in SCOPES for c in COLUMNS)
        table.add_row(Text(name), *cells)
    return table


def detail_table(title: str, rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """A row a scope (base, new, and their means where there are both) below each classifier, with more figures.

    Args:
        title: over the table.
        rows: classifier -> scope or mean -> figure -> value, as `training.evaluation.both_scopes` gives them.
    """
    table = _table(title)
    for head, _, _ in DETAILS.values():
        table.add_column(head, justify="right")
    for name, scopes in rows.items():
        table.add_row(Text(name))
        for number, (scope, figures) in enumerate(scopes.items()):
            values = ((figures[figure], factor, digits) for figure, (_, factor, digits) in DETAILS.items())
            cells = (MISSING if math.isnan(v) else f"{factor * v:.{digits}f}" for v, factor, digits in values)
            table.add_row(f"  {scope.replace('_', ' ')}", *cells, end_section=number == len(scopes) - 1)
    return table


def threshold_line(threshold: OpenSetThreshold) -> str:
    """An open-set threshold as a sentence."""
    vocabulary = "" if threshold.vocabulary is None else f", vocabulary {threshold.vocabulary[:12]}"
    return (
        f"open set: {threshold.score} >= {threshold.threshold:.4g} is known, which keeps at least "
        f"{percent(threshold.true_positive_rate)} % of {threshold.images} held-out images among {threshold.labels} labels"
        f"{vocabulary}"
    )


def _table(title: str) -> Table:
    """A table whose first column keeps names whole: heads wrap before they do. Names are Text, never markup."""
    table = Table(
        title=Text(title, style="table.title"), box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False
    )
    table.add_column("method", no_wrap=True, overflow="fold")
    return table
