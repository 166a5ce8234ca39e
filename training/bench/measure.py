"""Timing of steps and epochs, each in a process of its own, so that its peak memory is its own too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import glyph_world
from candor.clip.backbone import RANDOM_WEIGHTS, load_backbone
from training.augment import AugmentConfig
from training.bench.steps import STEPS, Task, make_task
from training.data import Sample
from training.features import FreshViews, encode_samples
from training.loop import CachedViews, ImageViews
from vocab_index.bench.timing import alone

WATCH = 0.001  # seconds between two looks at the memory


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        model: open_clip model; its weights are random.
        device: of the model.
        n_ctx: context vectors.
        classes, batch: C and B of a step.
        dor: with as many outliers a step as classes.
        repeats: measured steps, behind one that is not.
    """

    model: str
    device: str
    n_ctx: int
    classes: int
    batch: int
    dor: bool
    repeats: int


@dataclass(frozen=True)
class Measured:
    """What one way of taking a step cost and computed.

    Attributes:
        seconds: of the fastest step, as timeit: what slows a step down is other work.
        loss: of the step.
        gradient: of the context, (n_ctx, width).
        peak_bytes: most memory that the first step held beyond what was held before it.
    """

    seconds: float
    loss: float
    gradient: NDArray[np.float32]
    peak_bytes: int


def measure_step(kind: str, setting: Setting) -> Measured:
    """One way of taking a step (a name of STEPS), in a process of its own."""
    return alone(_measure_step, kind, setting)


def measure_epochs(setting: Setting) -> tuple[float, float]:
    """Seconds of an epoch of two batches with kept views, and with a fresh view of every image, in a process of its own."""
    return alone(_measure_epochs, setting)


def _task(setting: Setting) -> Task:
    glyph_world.register()
    torch.manual_seed(0)
    backbone = load_backbone(setting.model, RANDOM_WEIGHTS, setting.device)
    return make_task(backbone, setting.n_ctx, setting.classes, setting.batch)


def _measure_step(kind: str, setting: Setting) -> Measured:
    task = _task(setting)
    step = STEPS[kind](task, setting.dor)
    loss, peak = _first(step, task)
    seconds = [_timed(step, task) for _ in range(setting.repeats)]
    gradient = task.learner.ctx.grad
    assert gradient is not None
    return Measured(min(seconds), loss.item(), gradient.cpu().numpy(), peak)


def _measure_epochs(setting: Setting) -> tuple[float, float]:
    task = _task(setting)
    pictures = np.random.default_rng(0).integers(0, 256, (2 * setting.batch, 256, 340, 3), np.uint8)
    samples = [Sample(0, lambda picture=picture: Image.fromarray(picture)) for picture in pictures]
    augment = AugmentConfig(views=1)
    kept = CachedViews(encode_samples(task.backbone, samples, augment=augment).image_features)
    return _epoch(task, kept, setting), _epoch(task, FreshViews(task.backbone, samples, augment, 0), setting)


def _epoch(task: Task, images: ImageViews, setting: Setting) -> float:
    step = STEPS["shared"](task, False)
    step()

    def epoch() -> None:
        for rows in torch.arange(2 * setting.batch).split(setting.batch):
            images(rows, 0)
            step()

    return min(_timed(epoch, task) for _ in range(setting.repeats))


def _timed(call: Callable[[], Tensor | None], task: Task) -> float:
    _wait(task)
    start = time.perf_counter()
    call()
    _wait(task)
    return time.perf_counter() - start


def _wait(task: Task) -> None:
    if task.backbone.device.type == "cuda":
        torch.cuda.synchronize(task.backbone.device)


def _first(step: Callable[[], Tensor], task: Task) -> tuple[Tensor, int]:
    """The first step's loss, and the most bytes it held beyond what was held before: of the GPU's allocator, or resident.

    The first, because a process keeps memory that it has freed, and a second step would find it there.
    """
    device = task.backbone.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        loss = step()
        return loss, torch.cuda.max_memory_allocated(device) - before
    process, ended = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    seen = [before]

    def watch() -> None:
        while not ended.wait(WATCH):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    loss = step()
    ended.set()
    watcher.join()
    return loss, max(seen) - before
