"""`candor bench`: the performance figures of this project on this machine."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from functools import partial
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from candor.clip.backbone import RANDOM_WEIGHTS
from candor.errors import InvalidInput
from cli.console import console, errors, one_line_errors, progress_bar
from cli.options import Device, backbone
from training.bench.measure import Setting
from training.bench.report import TOLERANCE, TrainFigures, bench_train
from vocab_index.bench.figures import Figure
from vocab_index.bench.report import QUICK, VocabFigures, bench_vocab, count_parts
from vocab_index.bench.report import Setting as VocabSetting

app = typer.Typer(
    no_args_is_help=True, help="Performance figures on this machine, each a ratio to a baseline measured in the same run."
)


@app.callback()
def bench() -> None:
    """Performance figures on this machine, each a ratio to a baseline measured in the same run."""


@app.command()
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


@app.command()
@one_line_errors
def vocab(
    model: Annotated[str | None, typer.Option(help="open_clip model that encodes, with random weights [ViT-B-16]")] = None,
    size: Annotated[
        list[str] | None, typer.Option(help="vectors of a vocabulary, such as 118k or 1M; may be given twice [118k and 1M]")
    ] = None,
    words: Annotated[int | None, typer.Option(help="nouns to encode [512]", min=2)] = None,
    repeats: Annotated[int | None, typer.Option(help="turns of each way; the fastest counts [3]", min=1)] = None,
    device: Device = "cpu",
    quick: Annotated[
        bool, typer.Option("--quick", help="small sizes and glyph-clip: shows that all runs, not how fast")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """Encoding, outlier mining, search, storage and open set of a vocabulary, each against the straightforward way.

    Where both must compute the same, the bench checks it (exit code 1 if they do not); targets are shown beside the
    figures and are not checked. The first size is asked everything, further ones only search and storage. Vectors are made
    up, spread as CLIP's (vocab_index/bench/vectors.py says how). Some minutes on two cores, 12 GB of memory and 7 GB of
    temporary files for a million vectors; nothing else should run meanwhile.
    """
    setting = QUICK if quick else VocabSetting()
    sizes = tuple(_count(text) for text in size) if size else setting.sizes
    setting = replace(setting, sizes=sizes, words=words or setting.words, repeats=repeats or setting.repeats)
    load = partial(backbone, model or ("glyph-clip" if quick else "ViT-B-16"), RANDOM_WEIGHTS, device)
    with progress_bar() as bar:
        task = bar.add_task("bench", total=count_parts(setting))
        figures = bench_vocab(setting, load, lambda done: bar.update(task, advance=1, description=done))
    if as_json:
        console.print_json(json.dumps(figures.document() | {"cores": os.cpu_count()}))
    else:
        _show_vocab(figures)
    if not figures.equal:
        wrong = ", ".join(f"{figure.section}: {figure.name}" for figure in figures.missed if figure.parity)
        errors.print(f"two ways that must compute the same do not: {wrong}", soft_wrap=True)
        raise typer.Exit(1)


def _count(text: str) -> int:
    """A number of vectors: 118000, 118k or 1M."""
    found = re.fullmatch(r"(\d{1,9})([kM]?)", text)
    count = int(found[1]) * {"": 1, "k": 1000, "M": 1_000_000}[found[2]] if found else 0
    if not 1000 <= count <= 10**8:
        raise InvalidInput(f"no vocabulary size: {text!r}; give a number of vectors from 1k to 100M, such as 118k or 1M")
    return count


def _show_vocab(figures: VocabFigures) -> None:
    table = Table("", "ours", "baseline", "times", "target", "", title=f"candor bench vocab, {os.cpu_count()} cores")
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    section = ""
    for figure in figures.figures:
        if figure.section != section:
            section = figure.section
            table.add_section()
            table.add_row(Text(section, style="bold"))
        baseline = "" if figure.baseline is None else _amount(figure.baseline, figure.unit)
        times = "" if figure.times is None else f"{figure.times:.2f}x"
        met = "" if figure.met is None else "ok" if figure.met else "MISS"
        table.add_row(Text(f"  {figure.name}"), _amount(figure.value, figure.unit), baseline, times, _target(figure), met)
    console.print(table)
    aimed = sum(figure.met is not None for figure in figures.figures)
    console.print(f"{aimed - len(figures.missed)} of {aimed} targets are met; times is baseline / ours")


def _target(figure: Figure) -> str:
    targets = [
        f">= {figure.least_times:.3g}x" if figure.least_times is not None else "",
        f"<= {_amount(figure.most, figure.unit)}" if figure.most is not None else "",
        f">= {figure.least:g}" if figure.least is not None else "",
    ]
    return ", ".join(filter(None, targets))


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.3g} ms"
    return f"{value / 1e6:.1f} MB" if unit == "bytes" else f"{value:.3g}"
