"""report.md of an experiment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from candor.clip.backbone import RANDOM_WEIGHTS
from glyph_world import MODEL_NAME
from training.evaluation import HARMONIC_MEAN, MEAN
from training.experiment.recipe import MAIN_TABLE, Recipe
from training.experiment.runner import Finished
from training.experiment.summary import Summary, columns, summarise

ABLATION_PLOT, TRAINING_PLOT = "ece_scatter_{}.png", "training.png"
Plots = dict[str, list[str]]
Columns = Sequence[tuple[str, str]]

OVERVIEW: Columns = [(scope, figure) for scope in ("base", "new") for figure in ("accuracy", "confidence", "ece")]
BOTH: Columns = [(part, figure) for figure in ("ece", "accuracy") for part in ("base", "new", MEAN, HARMONIC_MEAN)]
TEXT: Columns = [(scope, figure) for scope in ("base", "new") for figure in ("fd", "text_deviation")]
ABLATION: Columns = [("base", "accuracy"), ("new", "accuracy"), *((p, "ece") for p in ("base", "new", MEAN, HARMONIC_MEAN))]
NAMES = {"ece": "ECE", "fd": "FD", "text_deviation": "text deviation"}


def write_markdown(
    recipe: Recipe, finished: Finished, tables: Mapping[str, Mapping[str, Summary | None]], plots: Plots
) -> str:
    """The whole report.

    Args:
        recipe: what was asked for.
        finished: what it gave.
        tables: of `training.experiment.report.summaries`.
        plots: title of a table -> file names.
    """
    e = recipe.experiment
    parts = [f"# {e.title}", *([e.description.strip()] if e.description else []), f"```bash\n{recipe.command}\n```"]
    spread = "" if len(e.seeds) == 1 else " ± standard deviation (n - 1)"
    parts.append(
        f"Percent; mean{spread} over {counted(len(e.seeds), 'seed')} of the mean over "
        f"{counted(len(e.datasets), 'data set')}. ECE has 10 equal bins. FD and text deviation are not in percent."
    )
    for title, rows in tables.items():
        parts.append(f"## {title}")
        missing = _missing(finished, title)
        parts += [f"**Not complete:** {missing}."] if missing else []
        if title == MAIN_TABLE:
            parts += [_table("method", rows, OVERVIEW), "Base and new together:", _table("method", rows, BOTH)]
            parts += ["Text features:", _table("method", rows, TEXT)]
        else:
            parts.append(_table("row", rows, ABLATION))
        parts += [f"![{_caption(name)}]({name})" for name in plots.get(title, [])]
    if MAIN_TABLE in tables and len(e.datasets) > 1:
        parts.append("## Each data set")
        for dataset in e.datasets:
            rows = {row: summarise(finished.runs(MAIN_TABLE, row), [dataset]) for row in finished.tables[MAIN_TABLE]}
            parts += [f"### {dataset}", _table("method", rows, OVERVIEW)]
    parts += ["## Notes", "\n".join(f"- {note}" for note in _notes(recipe, finished, tables))]
    if finished.failures:
        parts += ["## What failed", *(f"**{what}**\n\n```\n{why}\n```" for what, why in finished.failures)]
    return "\n\n".join(parts) + "\n"


def _table(first: str, rows: Mapping[str, Summary | None], wanted: Columns) -> str:
    head = [first, *(f"{part.replace('_', ' ')} {NAMES.get(figure, figure)}" for part, figure in wanted)]
    lines = [head, ["---"] * len(head)]
    lines += [[name, *(columns(s, wanted) if s else ["–"] * len(wanted))] for name, s in rows.items()]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _caption(name: str) -> str:
    """What a plot shows, by its file's name."""
    return {"reliability": "Reliability diagrams", "confidence": "Confidence of right and wrong answers"}.get(
        Path(name).stem, "Training curves" if name == TRAINING_PLOT else "ECE on base against ECE on new classes"
    )


def _missing(finished: Finished, title: str) -> str:
    """Rows that lack runs; their figures are over the seeds that have every data set."""
    counts = {
        row: (sum(job.key in finished.records for job in jobs), len(jobs)) for row, jobs in finished.tables[title].items()
    }
    return ", ".join(f"{row} has {found} of {wanted} runs" for row, (found, wanted) in counts.items() if found < wanted)


def counted(number: int, thing: str) -> str:
    """A number of things: "1 seed", "3 seeds"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _notes(recipe: Recipe, finished: Finished, tables: Mapping[str, Mapping[str, Summary | None]]) -> list[str]:
    records = finished.records.values()
    notes = [_weights_note(recipe)]
    notes.append(
        f"Data sets: {', '.join(recipe.experiment.datasets)}. Seeds: {', '.join(map(str, recipe.experiment.seeds))}."
    )
    notes.append(
        "“mean” is (base + new) / 2, which the DOR paper calls HM. “harmonic mean” is 2 / (1/base + 1/new) of a "
        "seed's two means over data sets."
    )
    floors = [s for rows in tables.values() for s in rows.values() if s]
    if floors:
        base, new = (max(s[scope]["ece_noise_floor"].mean for s in floors) for scope in ("base", "new"))
        level = f"{100 * base:.1f} (base) and {100 * new:.1f} (new)"
        notes.append(f"On test sets of this size a perfectly calibrated classifier has an ECE of about {level} by chance.")
    for name in ("device", "torch", "python", "candor"):
        found = sorted({record.environment.get(name, "?") for record in records})
        if len(found) > 1:
            notes.append(f"Runs were made with different versions of {name}: {', '.join(found)}.")
    total = sum(record.seconds for record in records) / 60
    devices = ", ".join(sorted({record.environment["device"] for record in records})) or "nothing"
    notes.append(f"{counted(len(records), 'run')}, {total:.1f} minutes of one worker in all, on {devices}.")
    notes.append(
        f"The last call made {counted(finished.ran, 'run')} in {finished.seconds / 60:.1f} minutes with "
        f"{counted(finished.workers, 'worker')} on {counted(os.cpu_count() or 1, 'core')}."
    )
    files = "evaluation.csv, evaluation.json, predictions.npz"
    notes.append(f"Every run's figures and predictions: {files}; the tables: results.json.")
    return notes


def _weights_note(recipe: Recipe) -> str:
    model, pretrained = recipe.experiment.model, recipe.experiment.pretrained
    if pretrained == RANDOM_WEIGHTS:
        return f"**{model} with random weights: the figures mean nothing.**"
    if model == MODEL_NAME:
        return f"**Backbone: {model}, the small model that ships with Candor, not OpenAI or LAION weights.**"
    return f"Backbone: {model} with the weights {pretrained}."
