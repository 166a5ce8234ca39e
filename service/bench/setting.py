"""What `candor bench serve` measures, and what it has found so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from service.bench.cells import Cell
from vocab_index.bench.figures import Figure, parity


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        model: open_clip model with random weights, beside glyph-clip; None leaves it out.
        clients: requests in flight, from one client to saturation.
        labels: of a request, from few to many.
        cold: requests for label sets never seen before, of each of `labels`.
        pipeline_labels: of a request that is compared with a transformers pipeline.
        pictures: different images.
        batches: that raw encode_image is tried with.
        words: of the vocabulary that an index is built of.
        seconds: of one turn.
        turns: of each cell.
        threads: of torch in every process that runs a model; None lets the service choose, and gives the others every core.
    """

    model: str | None = "ViT-B-32"
    clients: tuple[int, ...] = (1, 8, 32)
    labels: tuple[int, ...] = (2, 100, 1000)
    cold: tuple[int, ...] = (16, 4, 1)
    pipeline_labels: int = 20
    pictures: int = 8
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    words: int = 12_000
    seconds: float = 2.0
    turns: int = 3
    threads: int | None = None


QUICK = Setting(
    model=None, clients=(1, 3), labels=(2, 20), cold=(2, 1), pictures=2, batches=(1, 4), words=50, seconds=0.2, turns=1
)


@dataclass
class Findings:
    """Cells and figures in the order in which they were measured.

    Attributes:
        on_done: called behind each part with its description.
        cells: one a load.
        figures: beside their baselines and targets.
        wrong: answers that were errors, or not those of the same request sent alone.
    """

    on_done: Callable[[str], None]
    cells: list[Cell] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    wrong: int = 0


@dataclass(frozen=True)
class ServeFigures:
    """The whole benchmark.

    Attributes:
        setting: what was measured.
        cells: one a load.
        figures: beside their baselines and targets.
    """

    setting: Setting
    cells: tuple[Cell, ...]
    figures: tuple[Figure, ...]

    @classmethod
    def of(cls, setting: Setting, findings: Findings) -> ServeFigures:
        """What was found, and whether all answers were right."""
        requests = sum(cell.requests for cell in findings.cells)
        right = parity("answers", f"wrong of {requests:,} requests", findings.wrong, 0)
        return cls(setting, tuple(findings.cells), (*findings.figures, right))

    @property
    def equal(self) -> bool:
        """Whether both ways agreed wherever they must."""
        return all(figure.met for figure in self.figures if figure.parity)

    @property
    def missed(self) -> tuple[Figure, ...]:
        """Figures that do not reach their targets."""
        return tuple(figure for figure in self.figures if figure.met is False)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "setting": asdict(self.setting),
            "cells": [cell.document() for cell in self.cells],
            "figures": [figure.document() for figure in self.figures],
            "missed": len(self.missed),
            "equal": self.equal,
        }
