"""The report of an experiment: markdown, plots, and the numbers for machines."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from training.experiment.markdown import ABLATION_PLOT, TRAINING_PLOT, Plots, write_markdown
from training.experiment.recipe import MAIN_TABLE, Recipe
from training.experiment.runner import Finished
from training.experiment.summary import Summary, as_json, summarise
from training.plots import ece_scatter, training_curves
from training.report import EvaluatedRun, write_evaluation, write_plots

REPORT, RESULTS, RECIPE = "report.md", "results.json", "recipe.yaml"


def summaries(finished: Finished, datasets: tuple[str, ...]) -> dict[str, dict[str, Summary | None]]:
    """Title of a table -> name of a row -> its figures."""
    return {
        title: {row: summarise(finished.runs(title, row), datasets) for row in rows}
        for title, rows in finished.tables.items()
    }


def write_report(out: Path, recipe: Recipe, finished: Finished) -> None:
    """Write report.md, results.json, the evaluation's files and the plots into the experiment's directory.

    Each file is replaced whole; report.md last.

    Args:
        out: the directory; it holds the runs.
        recipe: what was asked for.
        finished: what it gave.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report.", dir=out) as directory:
        draft = Path(directory)
        runs = [run for title in finished.tables for run in _named_runs(finished, title)]
        plots: Plots = {}
        if runs:
            write_evaluation(draft, runs)
            plots = _draw(draft, recipe, finished)
        tables = summaries(finished, recipe.experiment.datasets)
        (draft / RECIPE).write_text(recipe.text, encoding="utf-8")
        document = results_document(recipe, finished, tables)
        (draft / RESULTS).write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        for path in sorted(draft.iterdir()):
            path.replace(out / path.name)
        (draft / REPORT).write_text(write_markdown(recipe, finished, tables, plots), encoding="utf-8")
        (draft / REPORT).replace(out / REPORT)


def _named_runs(finished: Finished, title: str) -> list[EvaluatedRun]:
    """The runs of a table; rows of ablations carry their table's title, since names must tell runs apart."""
    prefix = "" if title == MAIN_TABLE else f"{title}: "
    return [
        EvaluatedRun(f"{prefix}{row}", r.dataset, r.method, r.seed, r.scopes)
        for row in finished.tables[title]
        for r in finished.runs(title, row)
    ]


def _draw(draft: Path, recipe: Recipe, finished: Finished) -> Plots:
    """The plots of each table: title -> file names."""
    plots: Plots = {}
    for number, title in enumerate(finished.tables):
        if not (runs := [run for row in finished.tables[title] for run in finished.runs(title, row)]):
            continue
        heading = f"{recipe.experiment.title}: {title}"
        if title == MAIN_TABLE:
            plots[title] = write_plots(draft, runs, title=recipe.experiment.title)
            histories = _histories(finished)
            if histories:
                training_curves(draft / TRAINING_PLOT, histories, f"Seed {runs[-1].seed} on {runs[-1].dataset}")
                plots[title].append(TRAINING_PLOT)
            continue
        points: dict[str, list[tuple[float, float]]] = {}
        for run in runs:
            base, new = (run.scopes[scope].figures()["ece"] for scope in ("base", "new"))
            points.setdefault(run.name, []).append((base, new))
        name = ABLATION_PLOT.format(number)
        ece_scatter(draft / name, points, heading)
        plots[title] = [name]
    return plots


def _histories(finished: Finished) -> dict[str, list[dict[str, float]]]:
    """What each method's last run (last data set, last seed) noted over its epochs."""
    rows = {row: jobs[-1].key for row, jobs in finished.tables[MAIN_TABLE].items()}
    found = {row: finished.records[key].history for row, key in rows.items() if key in finished.records}
    return {row: history for row, history in found.items() if history}


def results_document(recipe: Recipe, finished: Finished, tables: dict[str, dict[str, Summary | None]]) -> dict[str, Any]:
    """results.json: all figures are fractions, what is not defined is null."""
    experiment = recipe.experiment
    runs: dict[str, dict[str, Any]] = {}
    for title, rows in finished.tables.items():
        for row, jobs in rows.items():
            for job in jobs:
                if (record := finished.records.get(job.key)) is not None:
                    run = runs.setdefault(
                        job.key,
                        {"dataset": job.dataset, "method": job.method, "seed": job.seed, "rows": []}
                        | {scope: stored.figures for scope, stored in record.scopes.items()}
                        | {"prompt_sha256": record.prompt_sha256, "seconds": record.seconds},
                    )
                    run["rows"].append([title, row])
    return {
        "name": experiment.name,
        "title": experiment.title,
        "recipe_sha256": recipe.digest,
        "model": experiment.model,
        "pretrained": experiment.pretrained,
        "datasets": experiment.datasets,
        "seeds": experiment.seeds,
        "tables": {title: {row: as_json(s) for row, s in rows.items()} for title, rows in tables.items()},
        "runs": runs,
        "failures": [{"what": what, "why": why} for what, why in finished.failures],
        "this_call": {"runs": finished.ran, "seconds": finished.seconds, "workers": finished.workers},
        "cores": os.cpu_count(),
    }
