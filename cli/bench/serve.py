"""`candor bench serve`."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from candor.errors import InvalidInput
from cli.bench.figures import exit_unless_equal, show_figures
from cli.console import console, one_line_errors, progress_bar
from cli.server import SERVICE, running_service
from service.bench.cells import Cell
from service.bench.report import bench_serve, count_parts
from service.bench.setting import QUICK, Setting

PRESET = ("CANDOR_ARTIFACT", "CANDOR_INDEX", "CANDOR_KEYS")  # would have another model served, or the bench locked out

HEADS = ("clients", "sent", "a second", "p50", "p95", "p99", "CPU", "client's", "batch")


@one_line_errors
def serve(
    model: Annotated[
        str | None, typer.Option(help="open_clip model with a Vision Transformer, with random weights [ViT-B-32]")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="of one turn [2]", min=0.05, max=60)] = None,
    turns: Annotated[int | None, typer.Option(help="of each load; rates are their median [3]", min=1, max=100)] = None,
    threads: Annotated[
        int | None, typer.Option(help="of torch, in the service and beside it [what the service chooses]", min=1)
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="glyph-clip only and very short: shows that all runs, not how fast")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """The service under load, beside the model alone, a transformers pipeline and a route that does nothing.

    Services run on loopback, on the CPU, in processes of their own, and so does the load generator, which shares the cores
    (its CPU time is shown). Every answer is compared with the one that the same request gets alone, and some with
    transformers' (exit code 1 where they differ); targets are shown beside the figures and are not checked. CPU time is
    that of the process that holds the model. Some minutes on two cores; nothing else should run meanwhile.
    """
    if preset := [name for name in PRESET if os.environ.get(name)]:
        raise InvalidInput(f"{', '.join(preset)} would change what is measured; unset it")
    setting = QUICK if quick else Setting()
    setting = replace(
        setting,
        model=model or setting.model,
        seconds=seconds or setting.seconds,
        turns=turns or setting.turns,
        threads=threads,
    )
    if setting.model and importlib.util.find_spec("transformers") is None:
        raise InvalidInput("the pipeline beside the service is transformers': pip install transformers, or give --quick")
    with tempfile.TemporaryDirectory(prefix="candor-bench-") as logs, progress_bar() as bar:
        numbers = itertools.count()

        @contextmanager
        def start(target: str | None, environment: Mapping[str, str]) -> Iterator[str]:
            log = Path(logs) / f"{next(numbers)}.log"
            with running_service(None, None, log, target=target or SERVICE, environment=environment) as url:
                yield url

        task = bar.add_task("bench", total=count_parts(setting))
        figures = bench_serve(setting, start, lambda done: bar.update(task, advance=1, description=done))
    if as_json:
        console.print_json(json.dumps(figures.document() | {"cores": os.cpu_count()}))
    else:
        _show_cells(figures.cells)
        show_figures("candor bench serve", figures.figures)
    exit_unless_equal(figures.figures)


def _show_cells(cells: Sequence[Cell]) -> None:
    table = Table("", *HEADS, title="candor bench serve: times in ms; CPU of the process with the model, a request")
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    services = list(dict.fromkeys(cell.service for cell in cells))
    shown = ""
    for cell in sorted(cells, key=lambda cell: services.index(cell.service)):
        if cell.service != shown:
            shown = cell.service
            table.add_section()
            table.add_row(Text(shown, style="bold"))
        times = (cell.latency(0.5), cell.latency(0.95), cell.latency(0.99), cell.cpu, cell.client_cpu)
        batch = "" if math.isnan(cell.batch) else f"{cell.batch:.1f}"
        counts = (str(cell.clients), str(cell.requests), f"{1 / cell.each:.1f}")
        table.add_row(Text(f"  {cell.load}"), *counts, *(f"{1000 * seconds:.2f}" for seconds in times), batch)
    console.print(table)
