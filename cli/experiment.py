"""`candor experiment`: methods x data sets x seeds from a recipe, with one report."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from candor.clip.artifact import SCOPES
from candor.clip.templates import DEFAULT_TEMPLATE
from candor.errors import InvalidInput
from cli.console import console, errors, one_line_errors, progress_bar, show_progress
from cli.options import Device, Root, backbone, word_list
from cli.tables import scope_table
from glyph_world import default_template
from training.experiment.markdown import counted
from training.experiment.plan import Vocabulary
from training.experiment.pool import OnStep
from training.experiment.recipe import Experiment, Recipe, load_recipe
from training.experiment.report import REPORT, results_document, summaries, write_report
from training.experiment.runner import Finished, Resources, run_experiment
from training.experiment.summary import percent, plain
from training.features import default_cache_dir


@one_line_errors
def experiment(
    recipe: Annotated[str, typer.Argument(help="YAML file, or the name of one in recipes/, such as glyphs_paper")],
    out: Annotated[Path | None, typer.Option(help="directory to write; default: runs/<name of the recipe>")] = None,
    workers: Annotated[
        int | None, typer.Option(help="processes; 0 is this one; default: a core each, or one on a GPU", min=0)
    ] = None,
    root: Root = None,
    index: Annotated[Path | None, typer.Option(help="vocabulary index to use instead of building one in --out")] = None,
    device: Device = "cpu",
    replace: Annotated[bool, typer.Option("--replace", help="forget this recipe's finished runs in --out")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the results as JSON")] = False,
) -> None:
    """Run a recipe: tune every method on every data set with every seed, evaluate, and write one report.

    Each finished run is kept at once. The same command again goes on where it stopped; a run whose settings changed is run
    again. A run that fails does not stop the others: it is named at the end, and the exit code is 1.

    Example: candor experiment recipes/glyphs_paper.yaml
    """
    chosen = load_recipe(recipe)
    plan = chosen.experiment
    target = out or Path("runs") / plan.name
    _check_out(target)
    vocabulary = Vocabulary(word_list(plan.vocabulary), default_template(plan.model) or DEFAULT_TEMPLATE)
    clip = backbone(plan.model, plan.pretrained, device)
    count = workers if workers is not None else default_workers(device)
    resources = Resources(target, count, root, default_cache_dir(), index)
    with step_bar(plan.name) as on_step:
        finished = run_experiment(plan, clip, vocabulary, resources, replace, on_step, show_progress)
    write_report(target, chosen, finished)
    _show(chosen, finished, target, as_json)
    for what, why in finished.failures:
        errors.print(f"candor: {what}: {why}", style="red", markup=False, highlight=False, soft_wrap=True)
    if finished.failures:
        raise typer.Exit(1)


def _check_out(out: Path) -> None:
    """See that the output directory is new, empty, or one of an experiment.

    Raises:
        InvalidInput: it holds something else.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / "runs").is_dir():
        raise InvalidInput(f"{out} holds something that is no experiment; choose another --out")


def default_workers(device: str) -> int:
    """A process a core that this process may use; one where a GPU does the work."""
    if device != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def step_bar(title: str) -> Iterator[OnStep]:
    """A progress bar of an experiment's steps; a line a step where there is no terminal."""
    with progress_bar() as bar:
        task = bar.add_task(title, total=None)

        def on_step(description: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=description)
            if not sys.stderr.isatty():
                errors.print(f"{done}/{total} {description}", markup=False, highlight=False, soft_wrap=True)

        yield on_step


def _show(recipe: Recipe, finished: Finished, out: Path, as_json: bool) -> None:
    tables = summaries(finished, recipe.experiment.datasets)
    if as_json:
        console.print_json(json.dumps(results_document(recipe, finished, tables)))
        return
    for title, rows in tables.items():
        known = {name: {scope: s[scope] for scope in SCOPES} for name, s in rows.items() if s is not None}
        if known:
            console.print(scope_table(f"{title}: {spread(recipe.experiment)}", known, percent, plain))
    console.print(f"{finished.ran} runs made, {len(finished.records) - finished.ran} found -> {out / REPORT}", markup=False)


def spread(experiment: Experiment) -> str:
    """What a table's cells are."""
    datasets, seeds = counted(len(experiment.datasets), "data set"), counted(len(experiment.seeds), "seed")
    return f"mean over {datasets} ± std over {seeds}" if len(experiment.seeds) > 1 else f"mean over {datasets}"
