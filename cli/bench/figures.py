"""Figures beside their baselines and targets, on the console."""

from __future__ import annotations

import os
from collections.abc import Sequence

import typer
from rich.table import Table
from rich.text import Text

from cli.console import console, errors
from vocab_index.bench.figures import Figure


def show_figures(title: str, figures: Sequence[Figure]) -> None:
    """A table, a section for each section of the figures, and how many targets are met."""
    table = Table("", "ours", "baseline", "times", "target", "", title=f"{title}, {os.cpu_count()} cores")
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    section = ""
    for figure in figures:
        if figure.section != section:
            section = figure.section
            table.add_section()
            table.add_row(Text(section, style="bold"))
        baseline = "" if figure.baseline is None else amount(figure.baseline, figure.unit)
        times = "" if figure.times is None else f"{figure.times:.2f}x"
        met = "" if figure.met is None else "ok" if figure.met else "MISS"
        table.add_row(Text(f"  {figure.name}"), amount(figure.value, figure.unit), baseline, times, _target(figure), met)
    console.print(table)
    aimed = [figure.met for figure in figures if figure.met is not None]
    console.print(f"{sum(aimed)} of {len(aimed)} targets are met; times is baseline / ours")


def exit_unless_equal(figures: Sequence[Figure]) -> None:
    """Fail with exit code 1 where two ways that must compute the same do not, and name them."""
    wrong = [f"{figure.section}: {figure.name}" for figure in figures if figure.parity and not figure.met]
    if wrong:
        errors.print(f"two ways that must compute the same do not: {', '.join(wrong)}", soft_wrap=True)
        raise typer.Exit(1)


def amount(value: float, unit: str) -> str:
    """A figure with its unit."""
    if unit == "s":
        return f"{value:.2f} s" if abs(value) >= 1 else f"{1000 * value:.3g} ms"
    return f"{value / 1e6:.1f} MB" if unit == "bytes" else f"{value:.3g}"


def _target(figure: Figure) -> str:
    targets = [
        f">= {figure.least_times:.3g}x" if figure.least_times is not None else "",
        f"<= {amount(figure.most, figure.unit)}" if figure.most is not None else "",
        f">= {figure.least:g}" if figure.least is not None else "",
    ]
    return ", ".join(filter(None, targets))
