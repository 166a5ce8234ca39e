"""An evaluation as files: `evaluation.json`, `evaluation.csv`, `predictions.npz` and plots; read back without pickle."""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from candor.calibration.bins import DEFAULT_BINS
from candor.clip.artifact import SCOPES, Scope
from candor.errors import IntegrityError, InvalidInput
from candor.files import file_digest
from training.evaluation import HARMONIC_MEAN, MEAN, ScopeResult, both_scopes
from training.plots import confidence_histograms, ece_scatter, reliability_diagrams

SCHEMA_VERSION: Literal[1] = 1
EVALUATION, TABLE, PREDICTIONS = "evaluation.json", "evaluation.csv", "predictions.npz"
RELIABILITY_PLOT, SCATTER_PLOT, HISTOGRAM_PLOT = "reliability.png", "ece_scatter.png", "confidence.png"
UNITS = {
    "accuracy": "fraction",
    "confidence": "fraction",
    "gap": "fraction",
    "ece": "fraction",
    "ece_15": "fraction",
    "ece_noise_floor": "fraction",
    "ace": "fraction",
    "mce": "fraction",
    "mce_weighted": "fraction",
    "piece": "fraction",
    "classwise_ece": "fraction",
    "brier": "0..2",
    "nll": "nats",
    "fd": "Euclidean distance",
    "text_deviation": "1 - cosine",
}

Figures = dict[str, float | None]


@dataclass(frozen=True)
class EvaluatedRun:
    """One classifier on one data set.

    Attributes:
        name: what tables and plots call it.
        dataset: name of the data set.
        method: name in METHODS, or "zero-shot".
        seed: of its training; None for zero-shot.
        scopes: its results; a scope without images is missing.
        artifact: tag of its artifact, if it has one.
    """

    name: str
    dataset: str
    method: str
    seed: int | None
    scopes: Mapping[Scope, ScopeResult]
    artifact: str | None = None


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScopeRecord(_Record):
    """One scope of a run in `evaluation.json`. A figure that is not defined is null."""

    images: int = Field(ge=0)
    labels: int = Field(ge=0)
    figures: Figures


class RunRecord(_Record):
    """A run in `evaluation.json`; its two means are there when both scopes are."""

    name: str
    dataset: str
    method: str
    seed: int | None
    artifact: str | None
    scopes: dict[Scope, ScopeRecord]
    mean: Figures | None
    harmonic_mean: Figures | None


class EvaluationFile(_Record):
    """`evaluation.json`: all figures as fractions of 1, never percent; `units` names the ones that are not fractions.

    Attributes:
        n_bins: M of ece, ece_noise_floor, ace, mce and mce_weighted.
        predictions_sha256: of `predictions.npz`; None where none was written.
        skipped: images that could not be read and were left out.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    n_bins: int = Field(ge=1)
    units: dict[str, str] = UNITS
    predictions_sha256: str | None = None
    skipped: tuple[str, ...] = ()
    runs: tuple[RunRecord, ...]


def evaluation_document(
    runs: Sequence[EvaluatedRun], n_bins: int = DEFAULT_BINS, skipped: Sequence[str] = ()
) -> dict[str, Any]:
    """What `evaluation.json` says, as plain JSON values: NaN is null."""
    return _document(runs, n_bins, skipped, None).model_dump(mode="json")


def _document(
    runs: Sequence[EvaluatedRun], n_bins: int, skipped: Sequence[str], predictions_sha256: str | None
) -> EvaluationFile:
    records = tuple(_run_record(run, n_bins) for run in runs)
    return EvaluationFile(n_bins=n_bins, predictions_sha256=predictions_sha256, skipped=tuple(skipped), runs=records)


def _run_record(run: EvaluatedRun, n_bins: int) -> RunRecord:
    figures = {name: json_figures(values) for name, values in both_scopes(run.scopes, n_bins).items()}
    return RunRecord(
        name=run.name,
        dataset=run.dataset,
        method=run.method,
        seed=run.seed,
        artifact=run.artifact,
        scopes={
            s: ScopeRecord(images=len(r.correct), labels=r.n_labels, figures=figures[s]) for s, r in run.scopes.items()
        },
        mean=figures.get(MEAN),
        harmonic_mean=figures.get(HARMONIC_MEAN),
    )


def json_figures(figures: Mapping[str, float]) -> Figures:
    """Figures as JSON can hold them: one that is not defined, or infinite, is None."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def write_evaluation(
    directory: Path, runs: Sequence[EvaluatedRun], n_bins: int = DEFAULT_BINS, skipped: Sequence[str] = ()
) -> None:
    """Write the three files of an evaluation.

    Args:
        directory: there already; inside `candor.files.whole_directory` the files appear together or not at all.
        runs: each name once for a data set and seed.
        n_bins: M of the figures; the predictions allow any other later.
        skipped: images that were left out.

    Raises:
        InvalidInput: two runs that could not be told apart.
    """
    keys = [(run.name, run.dataset, run.seed) for run in runs]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise InvalidInput(f"the same run twice: {sorted(map(str, twice))}")
    arrays: dict[str, Any] = _predictions(runs)
    np.savez_compressed(directory / PREDICTIONS, **arrays)
    digest = file_digest(directory / PREDICTIONS)
    document = _document(runs, n_bins, skipped, digest)
    (directory / EVALUATION).write_text(document.model_dump_json(indent=2) + "\n")
    _write_table(directory / TABLE, document)


def _predictions(runs: Sequence[EvaluatedRun]) -> dict[str, NDArray[Any]]:
    """All predictions in one table: columns `run` (row of the runs), `scope` (0 base, 1 new), confidence, correct."""
    parts = [(i, SCOPES.index(s), r.scopes[s]) for i, r in enumerate(runs) for s in SCOPES if s in r.scopes]
    counts = [len(result.correct) for _, _, result in parts]
    return {
        "run": np.repeat(np.array([run for run, _, _ in parts], np.int32), counts),
        "scope": np.repeat(np.array([scope for _, scope, _ in parts], np.int8), counts),
        "confidence": np.concatenate([np.empty(0), *(result.confidence for _, _, result in parts)]),
        "correct": np.concatenate([np.empty(0, bool), *(result.correct for _, _, result in parts)]),
    }


def _write_table(path: Path, document: EvaluationFile) -> None:
    """A row a run and scope, the means of both included; the header gives every unit, an undefined figure is empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        head = ["name", "dataset", "method", "seed", "scope", "images", "labels"]
        table.writerow([*head, *(f"{name} [{unit}]" for name, unit in UNITS.items())])
        for run in document.runs:
            rows = [(scope, r.images, r.labels, r.figures) for scope, r in run.scopes.items()]
            means = [(MEAN, "", "", run.mean), (HARMONIC_MEAN, "", "", run.harmonic_mean)]
            for scope, images, labels, figures in [*rows, *means]:
                if figures is not None:
                    cells = ["" if (value := figures[name]) is None else repr(value) for name in UNITS]
                    table.writerow([run.name, run.dataset, run.method, run.seed, scope, images, labels, *cells])


def read_evaluation(directory: Path) -> tuple[list[EvaluatedRun], tuple[str, ...]]:
    """The runs of a written evaluation, from which figures with any number of bins follow, and the images left out.

    Raises:
        IntegrityError: a file is missing or damaged, or has another schema.
    """
    for name in (EVALUATION, PREDICTIONS):
        if not (directory / name).is_file():
            raise IntegrityError(directory / name, "a file", "nothing")
    try:
        document = EvaluationFile.model_validate_json((directory / EVALUATION).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        found = f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
        raise IntegrityError(directory / EVALUATION, f"an evaluation of schema_version {SCHEMA_VERSION}", found) from error
    table = _read_predictions(directory / PREDICTIONS, document)
    runs = []
    for number, run in enumerate(document.runs):
        scopes = {scope: _scope_result(directory, table, number, scope, record) for scope, record in run.scopes.items()}
        runs.append(EvaluatedRun(run.name, run.dataset, run.method, run.seed, scopes, run.artifact))
    return runs, document.skipped


def _read_predictions(path: Path, document: EvaluationFile) -> dict[str, NDArray[Any]]:
    digest = file_digest(path)
    if digest != document.predictions_sha256:
        raise IntegrityError(path, f"sha256 {document.predictions_sha256}", digest)
    try:
        with np.load(path, allow_pickle=False) as stored:
            table = {name: stored[name] for name in ("run", "scope", "confidence", "correct")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise IntegrityError(path, "arrays run, scope, confidence, correct", error) from error
    if len({column.shape for column in table.values()}) != 1:
        raise IntegrityError(path, "columns of one length", {name: column.shape for name, column in table.items()})
    return table


def _scope_result(
    directory: Path, table: Mapping[str, NDArray[Any]], run: int, scope: Scope, record: ScopeRecord
) -> ScopeResult:
    rows = (table["run"] == run) & (table["scope"] == SCOPES.index(scope))
    if rows.sum() != record.images:
        raise IntegrityError(directory / PREDICTIONS, f"{record.images} predictions of run {run}, {scope}", rows.sum())
    stored = ("fd", "text_deviation", "piece", "classwise_ece", "brier", "nll")
    if missing := set(stored) - set(record.figures):
        raise IntegrityError(directory / EVALUATION, f"the figures {', '.join(stored)}", f"no {', '.join(sorted(missing))}")
    constants = {n: math.nan if (value := record.figures[n]) is None else value for n in stored}
    confidence, correct = table["confidence"][rows].astype(np.float64), table["correct"][rows].astype(bool)
    return ScopeResult(confidence, correct, n_labels=record.labels, **constants)


def write_plots(directory: Path, runs: Sequence[EvaluatedRun], n_bins: int = DEFAULT_BINS, title: str = "") -> list[str]:
    """Draw an evaluation: reliability diagrams, confidence histograms and, where a run has both scopes, the ECE scatter.

    Runs of one name (several data sets or seeds) are pooled in the diagrams and histograms; in the scatter each is a dot.

    Returns:
        The names of the PNG files.
    """
    pooled: dict[str, dict[str, ScopeResult]] = {}
    points: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        for scope, result in run.scopes.items():
            known = pooled.setdefault(run.name, {})
            known[scope] = _pool(known[scope], result) if scope in known else result
        if len(run.scopes) == len(SCOPES):
            base, new = (run.scopes[scope].figures(n_bins)["ece"] for scope in SCOPES)
            points.setdefault(run.name, []).append((base, new))
    bins = {name: {scope: r.bins_of(n_bins) for scope, r in scopes.items()} for name, scopes in pooled.items()}
    pairs = {n: {s: (r.confidence, r.correct) for s, r in scopes.items()} for n, scopes in pooled.items()}
    reliability_diagrams(directory / RELIABILITY_PLOT, bins, title)
    confidence_histograms(directory / HISTOGRAM_PLOT, pairs, title)
    if points:
        ece_scatter(directory / SCATTER_PLOT, points, title)
    return [RELIABILITY_PLOT, HISTOGRAM_PLOT, *([SCATTER_PLOT] if points else [])]


def _pool(first: ScopeResult, second: ScopeResult) -> ScopeResult:
    """The predictions of both; the other figures have no meaning for the pool and are NaN."""
    confidence = np.concatenate([first.confidence, second.confidence])
    return ScopeResult(confidence, np.concatenate([first.correct, second.correct]), math.nan, math.nan)
