"""A model and the threads that work for it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from service.batching import limits
from service.batching.limits import Limits
from service.batching.tower import ImageTower
from service.batching.watch import Watch
from service.batching.workers import Workers, cores, process_workers
from service.classifier import Classifier
from service.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("candor.service")

MEASURE_SECONDS = 4  # after which nothing is measured twice


class Model:
    """A classifier behind a decode pool and a micro-batcher, and the one thread that all models of a process share.

    Args:
        classifier: whose images are encoded.
        settings: limits.
        workers: threads; None takes those of the process.

    Attributes:
        text_chunk: labels that one piece of `run` work should encode at most, so that images do not wait long.
    """

    def __init__(self, classifier: Classifier, settings: Settings, workers: Workers | None = None) -> None:
        self._classifier, self._settings = classifier, settings
        self._most_threads = max(1, cores() // settings.workers)  # each worker process has its share
        threads = self._most_threads if settings.threads == "auto" else settings.threads
        self._workers = workers or process_workers(threads, settings.max_queue)
        encode = getattr(classifier.encode_images, "__func__", classifier.encode_images)
        bounds = (settings.max_batch, settings.max_queue, settings.max_wait_ms, settings.max_pixels)
        self._key = (classifier.image_tower, encode, bounds)
        self._tower = self._workers.tower(self._key, lambda: ImageTower(classifier, settings, self._workers))
        self.text_chunk = limits.DEFAULT_CHUNK

    @property
    def max_batch(self) -> int:
        """Images that the model takes at once."""
        return self._tower.batches.max_batch

    def watch(self, watch: Watch) -> None:
        """Tell somebody of images and batches from now on; also of those of other models with the same image tower."""
        self._tower.batches.watch = watch

    def deadline(self) -> float:
        """When what comes now is given up, on the event loop's clock."""
        return asyncio.get_running_loop().time() + self._settings.timeout_seconds

    async def pixels(self, data: bytes, field: str, deadline: float | None = None) -> Tensor:
        """The bytes of a file as `image_features` takes them, (3, H, W).

        Args:
            data: of a file.
            field: named in errors.
            deadline: on the event loop's clock; None is the settings'.

        Raises:
            ApiError: 413 or 415, about `field`; 503 where too many wait, or the deadline passed.
        """
        work = partial(self._tower.decode, data, field)
        return await self._workers.decoders.run(work, self.deadline() if deadline is None else deadline)

    async def image_features(self, pixels: Sequence[Tensor], deadline: float | None = None) -> Tensor:
        """Image features, (B, D) of L2 norm 1, in batches with those of other callers.

        Args:
            pixels: of `pixels`, one or more.
            deadline: on the event loop's clock; None is the settings'.

        Raises:
            ApiError: 503 where too many wait, or the deadline passed.
        """
        return torch.stack(await self._tower.batches.submit(pixels, self.deadline() if deadline is None else deadline))

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Other work of the model, in turn with its images; they wait for it, so it should be short."""
        return await asyncio.get_running_loop().run_in_executor(self._workers.model, partial(work, *args, **kwargs))

    def measure(self) -> Limits:
        """Choose threads, batch and labels at once for this machine, where the settings leave it open, and log them.

        Takes a few seconds, and must not be called in the event loop. An image tower is measured once; requests that are
        answered meanwhile take turns with it.
        """
        started = time.perf_counter()
        measured = self._workers.limits.get(self._key)
        if measured is None:
            measured = self._workers.limits[self._key] = self._measure_images(started + MEASURE_SECONDS)
        self._tower.batches.max_batch = measured.max_batch
        names = tuple(f"label {i}" for i in range(limits.PROBE_LABELS))
        encode = partial(self._timed, lambda: self._classifier.encode_labels(names))
        took = min(encode(), encode())
        self.text_chunk = limits.choose_chunk(took, limits.PROBE_LABELS)
        log.info(
            "%d threads, batches of up to %d images%s, %d labels at a time; measured in %.1f s",
            measured.threads,
            measured.max_batch,
            "" if math.isnan(measured.images_per_second) else f" ({measured.images_per_second:.4g} images/s)",
            self.text_chunk,
            time.perf_counter() - started,
        )
        return measured

    def _measure_images(self, until: float) -> Limits:
        pictures = [torch.zeros(3, *self._tower.size, dtype=torch.uint8)]
        on_cpu = self._classifier.backbone.device.type == "cpu"

        def seconds(batch: int) -> float:
            return limits.fastest_of_some(partial(self._timed, lambda: self._tower.encode(pictures * batch)), until)

        def seconds_with(threads: int) -> float:
            self._workers.use_threads(threads)
            return seconds(limits.PROBE_BATCH)

        self._timed(lambda: self._tower.encode(pictures))  # the first run is slow for other reasons
        if self._settings.threads == "auto" and on_cpu and self._most_threads > 1:
            self._workers.use_threads(limits.choose_threads(seconds_with, self._most_threads))
        if self._settings.max_batch != "auto":
            return Limits(self._workers.threads, self._settings.max_batch, math.nan)
        batch, rate = limits.choose_batch(seconds, limits.MOST_ON_CPU if on_cpu else limits.MOST_ON_GPU)
        return Limits(self._workers.threads, batch, rate)

    def _timed(self, work: Callable[[], object]) -> float:
        """Seconds of some work in the model's thread, without its time in the queue."""

        def timed() -> float:
            started = time.perf_counter()
            work()
            if self._classifier.backbone.device.type == "cuda":
                torch.cuda.synchronize(self._classifier.backbone.device)
            return time.perf_counter() - started

        return self._workers.model.submit(timed).result()
