"""`candor bench train`."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer
from rich.table import Table

from candor.errors import InvalidInput
from cli.console import console, errors, one_line_errors, progress_bar
from cli.options import Device
from training.bench.measure import Setting
from training.bench.report import TOLERANCE, TrainFigures, bench_train


@one_line_errors
def train(
    model: Annotated[str, typer.Option(help="open_clip model, with random weights")] = "ViT-B-16",
    n_ctx: Annotated[list[int] | None, typer.Option(help="context vectors; may be given twice. Default: 16 and 4")] = None,
    classes: Annotated[int, typer.Option(help="classes in a step", min=2)] = 50,
    batch: Annotated[int, typer.Option(help="images in a step", min=1)] = 32,
    repeats: Annotated[int, typer.Option(help="measured steps; the fastest counts", min=1)] = 3,
    device: Device = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """One training step, against the straightforward one: image tower and all text positions of every class, every step.

    Both compute the same loss and gradient; the bench checks it (exit code 1 if they differ by more than 1e-4). Training is
    faster because image features of a frozen tower are computed once, the prompts' shared prefix runs once for all names,
    and nothing runs behind a name's end. Some minutes on two cores; nothing else should run meanwhile.
    """
    counts = n_ctx or [16, 4]
    if min(counts) < 1:
        raise InvalidInput(f"n_ctx must be at least 1, got {min(counts)}")
    setting = Setting(model, device, counts[0], classes, batch, False, repeats)
    with progress_bar() as bar:
        task = bar.add_task("bench", total=4 * len(counts) + 1)
        figures = bench_train(setting, counts, lambda done: bar.update(task, advance=1, description=done))
    if as_json:
        console.print_json(json.dumps(figures.document() | {"cores": os.cpu_count()}))
    else:
        _show(figures)
    if not all(step.equal for step in figures.steps):
        errors.print(f"losses or gradients differ by more than {TOLERANCE:g}")
        raise typer.Exit(1)


def _show(figures: TrainFigures) -> None:
    chosen = figures.setting
    title = f"{chosen.model}, {chosen.classes} classes, batch {chosen.batch}, {chosen.device}, {os.cpu_count()} cores"
    table = Table("", *(f"n_ctx {step.n_ctx}" for step in figures.steps), title=title)
    rows = {
        "straightforward step, s": [f"{s.straightforward_seconds:.3f}" for s in figures.steps],
        "our step, s": [f"{s.shared_seconds:.3f}" for s in figures.steps],
        "times faster": [f"{s.speedup:.1f}" for s in figures.steps],
        "DOR adds, of our step": [f"{s.dor_extra:.0%}" for s in figures.steps],
        "memory of a straightforward step, MB": [f"{s.straightforward_peak_bytes / 1e6:.0f}" for s in figures.steps],
        "memory of our step, MB": [f"{s.shared_peak_bytes / 1e6:.0f}" for s in figures.steps],
        "loss differs by (relative)": [f"{s.loss_difference:.1e}" for s in figures.steps],
        "gradient differs by (relative)": [f"{s.gradient_difference:.1e}" for s in figures.steps],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    console.print(table)
    console.print(f"an epoch with kept image features is {figures.epoch_speedup:.1f} times as fast as with fresh views")
