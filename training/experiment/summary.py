"""The figures of a row: mean over data sets within each seed, then mean and standard deviation over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from candor.calibration import harmonic_mean, plain_mean
from candor.clip.artifact import SCOPES, Scope
from training.evaluation import HARMONIC_MEAN, MEAN, mean_and_std
from training.report import EvaluatedRun, Figures, json_figures

WITH_MEANS = ("accuracy", "ece")  # a mean of base and new says something about these


@dataclass(frozen=True)
class Cell:
    """A figure over seeds, as a fraction.

    Attributes:
        mean: over seeds.
        std: over seeds, with n - 1; NaN for a single seed.
    """

    mean: float
    std: float


Summary = dict[str, dict[str, Cell]]  # "base", "new", "mean", "harmonic_mean" -> figure -> cell


def summarise(runs: Sequence[EvaluatedRun], datasets: Sequence[str]) -> Summary | None:
    """The figures of a row over data sets and seeds.

    Only seeds with a run on every data set count: a mean over fewer data sets would be of something else. "mean" is
    (base + new) / 2, which the DOR paper calls HM; "harmonic_mean" is 2 / (1/base + 1/new) of a seed's two means over data
    sets, as the tables of the literature have it.

    Args:
        runs: of one row.
        datasets: that a seed must have.

    Returns:
        The figures; None where no seed is complete.
    """
    by_seed: dict[int, dict[str, EvaluatedRun]] = {}
    for run in runs:
        if run.dataset in datasets:
            by_seed.setdefault(run.seed or 0, {})[run.dataset] = run
    whole = {seed: found for seed, found in by_seed.items() if set(found) == set(datasets)}
    if not whole:
        return None
    figures: dict[str, dict[int, dict[str, float]]] = {}  # of each scope and each mean: seed -> figure
    for scope in SCOPES:
        figures[scope] = {seed: _over_datasets(found, scope) for seed, found in whole.items()}
    for part, mean in ((MEAN, plain_mean), (HARMONIC_MEAN, harmonic_mean)):
        figures[part] = {s: {n: mean(*(figures[scope][s][n] for scope in SCOPES)) for n in WITH_MEANS} for s in whole}
    return {part: _over_seeds(by_seed) for part, by_seed in figures.items()}


def _over_datasets(runs: Mapping[str, EvaluatedRun], scope: Scope) -> dict[str, float]:
    cells = mean_and_std({(name, 0): run.scopes[scope].figures() for name, run in runs.items()})
    return {name: cell["mean"] for name, cell in cells.items()}


def _over_seeds(by_seed: Mapping[int, Mapping[str, float]]) -> dict[str, Cell]:
    cells = mean_and_std({("", seed): figures for seed, figures in by_seed.items()})
    return {name: Cell(**cell) for name, cell in cells.items()}


def as_json(summary: Summary | None) -> dict[str, dict[str, Figures]] | None:
    """A summary as plain JSON values; what is not defined is null."""
    if summary is None:
        return None
    return {part: {name: json_figures(asdict(cell)) for name, cell in cells.items()} for part, cells in summary.items()}


def percent(cell: Cell) -> str:
    """A fraction as "72.5 ± 1.9" percent; without ± where there is one seed, "–" where it is not defined."""
    return _written(cell, 100, 1)


def plain(cell: Cell) -> str:
    """A figure that is no fraction, with three decimals."""
    return _written(cell, 1, 3)


def _written(cell: Cell, factor: float, decimals: int) -> str:
    if not math.isfinite(cell.mean):
        return "–"
    spread = f" ± {factor * cell.std:z.{decimals}f}" if math.isfinite(cell.std) else ""
    return f"{factor * cell.mean:z.{decimals}f}{spread}"


def columns(summary: Mapping[str, Mapping[str, Cell]], wanted: Sequence[tuple[str, str]]) -> list[str]:
    """The cells of a table's row: (part, figure) each, fractions in percent."""
    return [(plain if figure in ("fd", "text_deviation") else percent)(summary[part][figure]) for part, figure in wanted]
