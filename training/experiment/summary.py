"""The figures of a row: mean over data sets within each seed, then mean and standard deviation over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from candor.calibration import harmonic_mean, plain_mean
from candor.clip.artifact import SCOPES
from training.evaluation import HARMONIC_MEAN, MEAN, mean_and_std
from training.report import EvaluatedRun

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
    summary: Summary = {}
    seed_means: dict[str, dict[str, list[float]]] = {}
    for scope in SCOPES:
        figures = {
            (name, seed): run.scopes[scope].figures() for seed, found in whole.items() for name, run in found.items()
        }
        summary[scope] = {name: Cell(**cell) for name, cell in mean_and_std(figures).items()}
        seed_means[scope] = {
            name: [float(np.mean([figures[dataset, seed][name] for dataset in datasets])) for seed in whole]
            for name in WITH_MEANS
        }
    for part, mean in ((MEAN, plain_mean), (HARMONIC_MEAN, harmonic_mean)):
        summary[part] = {
            name: _over_seeds([mean(*pair) for pair in zip(*(seed_means[s][name] for s in SCOPES), strict=True)])
            for name in WITH_MEANS
        }
    return summary


def _over_seeds(values: Sequence[float]) -> Cell:
    return Cell(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan)


def as_json(summary: Summary | None) -> dict[str, dict[str, dict[str, float | None]]] | None:
    """A summary as plain JSON values; what is not defined is null."""
    if summary is None:
        return None
    return {
        part: {name: {"mean": finite(c.mean), "std": finite(c.std)} for name, c in cells.items()}
        for part, cells in summary.items()
    }


def finite(value: float) -> float | None:
    """The value; None for NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


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
