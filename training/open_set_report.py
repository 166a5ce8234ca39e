"""An open-set evaluation as a summary, as files and as a plot."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from training.evaluation import mean_and_std
from training.open_set import OpenSetRun
from training.plots import COLOURS, DPI, LEGEND
from training.report import json_figures

DOCUMENT, TABLE, HISTOGRAMS = "open_set.json", "open_set.csv", "open_set.png"
FIGURES = ("auroc", "fpr95", "aupr", "known_kept", "unknown_kept")
BINS = 40

Row = tuple[str, str, str]  # prompt, unknown images, score
Summary = Mapping[str, Mapping[str, float]]


def summarise(runs: Sequence[OpenSetRun]) -> dict[Row, Summary]:
    """Each row's figures: the mean over data sets within a seed, then mean and standard deviation (n - 1) over seeds.

    Returns:
        (prompt, unknown images, score) -> figure -> {"mean", "std"}; std is NaN for one seed. Rows of one prompt and kind
        of unknown images stand together.
    """
    rows: dict[Row, dict[tuple[str, int], dict[str, float]]] = {}
    for run in runs:
        rows.setdefault((run.prompt, run.unknown, run.score), {})[run.dataset, run.seed] = run.figures()
    places = [list(dict.fromkeys(parts)) for parts in zip(*rows, strict=True)]
    order = sorted(rows, key=lambda row: [place.index(part) for place, part in zip(places, row, strict=True)])
    return {row: mean_and_std(rows[row]) for row in order}


def open_set_document(
    runs: Sequence[OpenSetRun], true_positive_rate: float, vocabulary: str | None, skipped: Sequence[str] = ()
) -> dict[str, Any]:
    """What `open_set.json` says; a figure that is not defined is null.

    Args:
        runs: of `evaluate_open_set`.
        true_positive_rate: of the thresholds.
        vocabulary: what NegLabel's negatives are drawn from, in words.
        skipped: images that were left out.
    """
    return {
        "datasets": list(dict.fromkeys(run.dataset for run in runs)),
        "seeds": list(dict.fromkeys(run.seed for run in runs)),
        "true_positive_rate": true_positive_rate,
        "vocabulary": vocabulary,
        "rows": [_named(row) | {n: json_figures(f) for n, f in found.items()} for row, found in summarise(runs).items()],
        "runs": [_cells(run) | json_figures(run.figures()) for run in runs],
        "skipped": list(skipped),
    }


def _named(row: Row) -> dict[str, Any]:
    return dict(zip(("prompt", "unknown", "score"), row, strict=True))


def _cells(run: OpenSetRun) -> dict[str, Any]:
    where = _named((run.prompt, run.unknown, run.score)) | {"dataset": run.dataset, "seed": run.seed}
    counts = {"known_images": len(run.known_scores), "unknown_images": len(run.unknown_scores)}
    return where | counts | json_figures({"threshold": run.threshold})


def write_open_set(directory: Path, runs: Sequence[OpenSetRun], document: Mapping[str, Any]) -> None:
    """Write the document, a row a run as CSV (an undefined figure is empty), and the histograms.

    Args:
        directory: there already; inside `candor.files.whole_directory` the files appear together or not at all.
        runs: of `evaluate_open_set`.
        document: of `open_set_document`.
    """
    (directory / DOCUMENT).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    with (directory / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*_cells(runs[0]), *FIGURES], lineterminator="\n")
        writer.writeheader()
        writer.writerows(document["runs"])
    score_histograms(directory / HISTOGRAMS, runs)


def score_histograms(path: Path, runs: Sequence[OpenSetRun]) -> Figure:
    """Scores of known and unknown images of the first prompt and seed: data sets across, scores down.

    A dashed line is the threshold that was fitted on held-out images.

    Args:
        path: PNG file to write.
        runs: of `evaluate_open_set`.
    """
    shown = [run for run in runs if (run.prompt, run.seed) == (runs[0].prompt, runs[0].seed)]
    datasets, scores = (list(dict.fromkeys(names)) for names in ((r.dataset for r in shown), (r.score for r in shown)))
    figure = Figure(figsize=(3.2 * len(datasets) + 0.6, 2.2 * len(scores) + 1.1), layout="constrained")
    axes = figure.subplots(len(scores), len(datasets), squeeze=False)
    for run in shown:
        axis = axes[scores.index(run.score)][datasets.index(run.dataset)]
        together = [r for r in shown if (r.score, r.dataset) == (run.score, run.dataset)]
        if run is not together[0]:
            continue
        kinds = {"known": run.known_scores} | {f"unknown: {r.unknown}": r.unknown_scores for r in together}
        edges = np.histogram_bin_edges(np.concatenate(list(kinds.values())), BINS)
        for colour, (kind, values) in zip(COLOURS, kinds.items(), strict=False):
            weights = np.full(len(values), 1 / len(values))
            axis.hist(values, edges, weights=weights, histtype="step", color=colour, label=kind)
        if not np.isnan(run.threshold):
            axis.axvline(run.threshold, color="0.3", linestyle="--", linewidth=1)
        axis.set_title(f"{run.dataset}, {run.score}", fontsize=9)
        axis.tick_params(labelsize=8)
    for row in axes:
        row[0].set_ylabel("share of images", fontsize=9)
    figure.legend(*axes[0][0].get_legend_handles_labels(), **LEGEND, ncols=3)
    figure.suptitle(f"Open-set scores, {shown[0].prompt} prompt, seed {shown[0].seed}")
    figure.savefig(path, dpi=DPI)
    return figure
