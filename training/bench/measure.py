"""Timing of steps and epochs, each in a process of its own, so that its peak memory is its own too."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
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
        seconds: median of a step.
        loss: of the step.
        gradient: of the context, (n_ctx, width).
        peak_bytes: most memory that was held while stepping, beyond the loaded model and data.
    """

    seconds: float
    loss: float
    gradient: NDArray[np.float32]
    peak_bytes: int


def measure_step(kind: str, setting: Setting) -> Measured:
    """One way of taking a step (a name of STEPS), in a process of its own."""
    return _alone(_measure_step, kind, setting)


def measure_epochs(setting: Setting) -> tuple[float, float]:
    """Seconds of an epoch of two batches with kept views, and with a fresh view of every image, in a process of its own."""
    return _alone(_measure_epochs, setting)


def _alone(function: Callable[..., object], *arguments: object) -> object:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _task(setting: Setting) -> Task:
    glyph_world.register()
    torch.manual_seed(0)
    backbone = load_backbone(setting.model, RANDOM_WEIGHTS, setting.device)
    return make_task(backbone, setting.n_ctx, setting.classes, setting.batch)


def _measure_step(kind: str, setting: Setting) -> Measured:
    task = _task(setting)
    step = STEPS[kind](task, setting.dor)
    start = _memory(task)
    loss = step()
    seconds = [_timed(step, task) for _ in range(setting.repeats)]
    gradient = task.learner.ctx.grad
    assert gradient is not None
    return Measured(statistics.median(seconds), loss.item(), gradient.cpu().numpy(), _memory(task) - start)


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

    return statistics.median(_timed(epoch, task) for _ in range(setting.repeats))


def _timed(call: Callable[[], Tensor | None], task: Task) -> float:
    _wait(task)
    start = time.perf_counter()
    call()
    _wait(task)
    return time.perf_counter() - start


def _wait(task: Task) -> None:
    if task.backbone.device.type == "cuda":
        torch.cuda.synchronize(task.backbone.device)


def _memory(task: Task) -> int:
    """Peak so far, bytes: of the GPU's allocator, or of the process."""
    if task.backbone.device.type == "cuda":
        return torch.cuda.max_memory_allocated(task.backbone.device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
