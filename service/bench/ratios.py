"""From cells to figures: what the service takes beside what it is built on.

A rate is kept as seconds a request, so that in every figure less is better and `times` is how many times as fast.
"""

from __future__ import annotations

from service.bench.cells import Cell
from vocab_index.bench.figures import Figure

OF_RAW = 0.9  # of the rate of raw encode_image, at saturation
OF_PIPELINE = 3.0  # times the rate of a transformers pipeline
MANY_LABELS = 1.05  # times the latency with few labels
CPU_BESIDE_MODEL = 0.0025  # seconds a request
UNBATCHED = 1.1  # times the latency of a single caller without micro-batching
MEDIAN = 0.5


def against_raw(section: str, ours: Cell, raw: Cell, batch: int, aim: bool) -> list[Figure]:
    """Wall and CPU time of an image, beside `encode_image` alone at its best batch.

    Args:
        section: of the figures.
        ours: cell of the service, an image a request.
        raw: cell of the model alone.
        batch: that it had.
        aim: whether the target holds here: at saturation, where the model is what takes the time.
    """
    base = f"raw encode_image, batch {batch}"
    wall = Figure(
        section,
        f"an image, {_clients(ours)} · {base}",
        ours.each,
        baseline=raw.each,
        least_times=OF_RAW if aim else None,
    )
    return [wall, Figure(section, f"CPU of an image, {_clients(ours)} · {base}", ours.cpu, baseline=raw.cpu)]


def against_empty(section: str, ours: Cell, empty: Cell) -> list[Figure]:
    """Wall and CPU time of a request, beside a service that does nothing."""
    base = "an empty mounted route"
    return [
        Figure(section, f"a request, {_clients(ours)} · {base}", ours.each, baseline=empty.each),
        Figure(section, f"CPU of a request, {_clients(ours)} · {base}", ours.cpu, baseline=empty.cpu),
    ]


def against_pipeline(section: str, ours: Cell, pipeline: Cell, aim: bool) -> Figure:
    """Time of a request, beside a call of the pipeline.

    Args:
        section: of the figure.
        ours: cell of the service.
        pipeline: cell of calls one after the other.
        aim: whether the target holds here: at saturation.
    """
    name = f"a request, {ours.load}, {_clients(ours)} · a transformers pipeline"
    return Figure(section, name, ours.each, baseline=pipeline.each, least_times=OF_PIPELINE if aim else None)


def beside_model(section: str, ours: Cell, raw: Cell, batch: int) -> Figure:
    """CPU time of a request without the model's.

    It is the CPU time of the service's process by its requests, less that of `encode_image` by its images, in batches as
    large as the service's own were on average and measured behind them. What a large model takes varies by more than the
    service takes, so this says something with a small one only.

    Args:
        section: of the figure.
        ours: cell of the service, an image a request.
        raw: cell of the model alone.
        batch: that it had.
    """
    name = f"CPU less encode_image's in batches of {batch}, 1 thread, {_clients(ours)}"
    return Figure(section, name, ours.cpu - raw.cpu, most=CPU_BESIDE_MODEL)


def many_labels(section: str, many: Cell, few: Cell, aim: bool) -> Figure:
    """Latency with many cached labels, beside that with few."""
    name = f"p50, {many.load}, {_clients(many)} · {few.load}"
    least = 1 / MANY_LABELS if aim else None
    return Figure(section, name, many.latency(MEDIAN), baseline=few.latency(MEDIAN), least_times=least)


def against_unbatched(section: str, ours: Cell, unbatched: Cell) -> Figure:
    """Latency of a caller, beside a service whose batches hold one image."""
    name = f"p50, {_clients(ours)} · without micro-batching"
    return Figure(section, name, ours.latency(MEDIAN), baseline=unbatched.latency(MEDIAN), least_times=1 / UNBATCHED)


def _clients(cell: Cell) -> str:
    return f"{cell.clients} client{'s' if cell.clients > 1 else ''}"
