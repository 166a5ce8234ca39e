"""The figures of `candor bench train`: ratios, and whether both ways computed the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from training.bench.measure import Measured, Setting, measure_epochs, measure_step

TOLERANCE = 1e-4  # relative, of loss and gradient


@dataclass(frozen=True)
class StepFigures:
    """One number of context vectors.

    Attributes:
        n_ctx: context vectors.
        straightforward_seconds, shared_seconds, dor_seconds: of a step; the last is the shared one with DOR.
        speedup: straightforward / shared.
        dor_extra: what DOR adds to a step, as a share of a step without it.
        straightforward_peak_bytes, shared_peak_bytes: memory of stepping, beyond model and data.
        loss_difference, gradient_difference: relative, the larger of with and without DOR.
    """

    n_ctx: int
    straightforward_seconds: float
    shared_seconds: float
    dor_seconds: float
    speedup: float
    dor_extra: float
    straightforward_peak_bytes: int
    shared_peak_bytes: int
    loss_difference: float
    gradient_difference: float

    @property
    def equal(self) -> bool:
        """Whether both ways computed the same, to TOLERANCE."""
        return self.loss_difference <= TOLERANCE and self.gradient_difference <= TOLERANCE


@dataclass(frozen=True)
class TrainFigures:
    """The whole benchmark.

    Attributes:
        setting: what was measured (of the first n_ctx, without DOR).
        steps: figures of each n_ctx.
        cached_epoch_seconds, fresh_epoch_seconds: an epoch of two batches, first n_ctx.
    """

    setting: Setting
    steps: tuple[StepFigures, ...]
    cached_epoch_seconds: float
    fresh_epoch_seconds: float

    @property
    def epoch_speedup(self) -> float:
        """Fresh / cached."""
        return self.fresh_epoch_seconds / self.cached_epoch_seconds

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"epoch_speedup": self.epoch_speedup, "equal": all(s.equal for s in self.steps)}


def bench_train(setting: Setting, n_ctx: Sequence[int], on_done: Callable[[str], None]) -> TrainFigures:
    """Measure.

    Args:
        setting: its n_ctx and dor are replaced.
        n_ctx: context lengths to measure.
        on_done: called after each measurement with its description; there are 4 for each n_ctx, and one more.
    """
    steps = tuple(_step_figures(replace(setting, n_ctx=count), on_done) for count in n_ctx)
    first = replace(setting, n_ctx=n_ctx[0], dor=False)
    cached, fresh = measure_epochs(first)
    on_done("epochs")
    return TrainFigures(first, steps, cached, fresh)


def _step_figures(setting: Setting, on_done: Callable[[str], None]) -> StepFigures:
    found: dict[tuple[str, bool], Measured] = {}
    for kind in ("straightforward", "shared"):
        for dor in (False, True):
            found[kind, dor] = measure_step(kind, replace(setting, dor=dor))
            on_done(f"{kind} step, n_ctx {setting.n_ctx}{', DOR' if dor else ''}")
    plain, ours, with_dor = found["straightforward", False], found["shared", False], found["shared", True]
    pairs = [(found["straightforward", dor], found["shared", dor]) for dor in (False, True)]
    return StepFigures(
        setting.n_ctx,
        plain.seconds,
        ours.seconds,
        with_dor.seconds,
        plain.seconds / ours.seconds,
        with_dor.seconds / ours.seconds - 1,
        plain.peak_bytes,
        ours.peak_bytes,
        max(abs(fast.loss - slow.loss) / abs(slow.loss) for slow, fast in pairs),
        max(_distance(fast.gradient, slow.gradient) for slow, fast in pairs),
    )


def _distance(value: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))
