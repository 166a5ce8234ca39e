"""Healing as people and machines read it: the table, `feedback.json`, `feedback.md` and a reliability diagram."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from candor.calibration.healing import BINS, Healing, ScopeHealing
from candor.clip.artifact import OF_HEALING
from training.plots import reliability_diagrams
from training.report import json_figures

RECORD, REPORT, PLOT = OF_HEALING
FIGURES = {
    "ece": ("ECE %", 100, 1),
    "ece_noise_floor": ("floor %", 100, 1),
    "gap": ("gap %", 100, 1),
    "accuracy": ("acc %", 100, 1),
    "brier": ("Brier", 1, 4),
    "nll": ("NLL nats", 1, 4),
}
HEADS = ("scope", "calibrator", "T", "strength", *(head for head, _, _ in FIGURES.values()))


def record(healing: Healing, tags: Sequence[str]) -> dict[str, Any]:
    """The evidence, as JSON can hold it.

    Args:
        healing: what was found.
        tags: of the artifacts whose predictions were used.

    Returns:
        `tags`, and of each scope: whether it was healed and why not, the number of predictions that were fitted and judged,
        their times, temperature and strength [before, after], the fall of NLL with its standard error, and the figures of
        `Judgement` before and after.
    """
    return {"tags": list(tags)} | {name: _scope_record(scope) for name, scope in healing.scopes.items()}


def table(healing: Healing, title: str) -> Table:
    """A row for each scope, before and after."""
    shown = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    for number, head in enumerate(HEADS):
        shown.add_column(head, justify="left" if number < 2 else "right", no_wrap=True)
    for row in _rows(healing):
        shown.add_row(*row)
    return shown


def sentences(healing: Healing) -> list[str]:
    """What became of each scope."""
    return [_sentence(name, scope) for name, scope in healing.scopes.items()]


def write_report(healing: Healing, tags: Sequence[str], artifact: str, directory: Path) -> None:
    """Write the three files.

    Args:
        healing: what was found.
        tags: of the artifacts whose predictions were used.
        artifact: tag of the one that was healed.
        directory: to write into.
    """
    bins = {
        name: {when: judged.bins.to_lists() for when, judged in (("before", scope.before), ("after", scope.after))}
        for name, scope in healing.scopes.items()
    }
    document = record(healing, tags) | {"artifact": artifact, "reliability": bins}
    (directory / RECORD).write_text(json.dumps(document, indent=2) + "\n")
    (directory / REPORT).write_text(_markdown(healing, tags, artifact))
    diagrams = {
        "before": {name: scope.before.bins for name, scope in healing.scopes.items()},
        "after": {name: scope.after.bins for name, scope in healing.scopes.items()},
    }
    reliability_diagrams(directory / PLOT, diagrams, f"{artifact}: later predictions, before and after healing")


def _scope_record(scope: ScopeHealing) -> dict[str, Any]:
    gain, error = scope.gain
    return {
        "healed": scope.objection is None,
        "objection": scope.objection,
        "fitted": scope.fitted,
        "judged": scope.judged,
        "since": moment(scope.since),
        "cut": moment(scope.cut),
        "until": moment(scope.until),
        "temperature": [scope.present.temperature, scope.found.temperature],
        "strength": [scope.present.strength, scope.found.strength],
        **json_figures({"nll_fall": gain, "nll_fall_error": error}),
        "before": json_figures(scope.before.figures()),
        "after": json_figures(scope.after.figures()),
    }


def moment(seconds: float) -> str | None:
    """A time as people read it, in UTC; None for NaN."""
    return None if math.isnan(seconds) else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _rows(healing: Healing) -> list[tuple[str, ...]]:
    rows = []
    for name, scope in healing.scopes.items():
        kinds = (("before", scope.present, scope.before), ("after", scope.found, scope.after))
        for when, what, judged in kinds[: 1 if scope.found == scope.present else 2]:
            numbers = (f"{what.temperature:.4g}", f"{what.strength:.3g}")
            rows.append((name, when, *numbers, *_cells(judged.figures())))
    return rows


def _cells(figures: Mapping[str, float]) -> list[str]:
    values = ((figures[name], factor, digits) for name, (_, factor, digits) in FIGURES.items())
    return ["–" if math.isnan(v) else f"{factor * v:.{digits}f}" for v, factor, digits in values]


def _sentence(name: str, scope: ScopeHealing) -> str:
    if scope.objection is not None:
        return f"{name} keeps its calibrator: {scope.objection}"
    gain, error = scope.gain
    return (
        f"{name} is healed: fitted to {scope.fitted} predictions until {moment(scope.cut)}; on the {scope.judged} "
        f"after them NLL falls by {gain:.4f} ± {error:.4f}"
    )


def _markdown(healing: Healing, tags: Sequence[str], artifact: str) -> str:
    lines = [" | ".join(row) for row in (HEADS, ["---"] * len(HEADS), *_rows(healing))]
    parts = [
        f"# {artifact}, calibrated on feedback",
        f"Predictions of {', '.join(tags)} whose true label is known, in order of time. The new calibrator was fitted to "
        "the first 70 % of each scope. All figures are of the predictions after those, which decided whether it is kept.",
        "\n".join(f"- {sentence}." for sentence in sentences(healing)),
        "\n".join(f"| {line} |" for line in lines),
        f"ECE has {BINS} equal bins; its floor is what a perfectly calibrated model would show on as many predictions. "
        'NLL and Brier are of the statement "this prediction is right".',
        f"![Reliability before and after]({PLOT})",
    ]
    return "\n\n".join(parts) + "\n"
