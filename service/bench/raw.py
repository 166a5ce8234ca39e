"""The baseline that the service cannot beat: `Backbone.encode_image` alone, in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch

import glyph_world
from candor.clip.backbone import Backbone, load_backbone
from service.bench.cells import Turn

EVERY_CORE = torch.get_num_threads()


@dataclass(frozen=True)
class Weights:
    """A model that several processes load.

    Attributes:
        model: its name.
        pretrained: its weights: None, a tag or a file.
        threads: of torch; None leaves it to torch, which takes every core.
    """

    model: str
    pretrained: str | None
    threads: int | None


def load(weights: Weights) -> Backbone:
    """The model, loaded once a process, and its threads."""
    torch.set_num_threads(weights.threads or EVERY_CORE)
    return _load(weights.model, weights.pretrained)


@cache
def _load(model: str, pretrained: str | None) -> Backbone:
    glyph_world.register()
    return load_backbone(model, pretrained)


def raw_turn(weights: Weights, batch: int, seconds: float) -> Turn:
    """Encode batches of images that are pixels already, for some time.

    Args:
        weights: of the model.
        batch: images at once.
        seconds: behind which no batch is begun.

    Returns:
        A turn with a latency an image.
    """
    backbone = load(weights)
    size = backbone.model.visual.image_size
    height, width = size if isinstance(size, tuple) else (size, size)
    pixels = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))
    backbone.encode_image(pixels)
    return repeat(lambda: backbone.encode_image(pixels), batch, seconds)


def best_batch(weights: Weights, batches: Sequence[int], seconds: float) -> int:
    """The batch that encodes most images a second.

    Args:
        weights: of the model.
        batches: to choose from.
        seconds: for each.
    """
    return min(batches, key=lambda batch: raw_turn(weights, batch, seconds).each)


def repeat(call: Callable[[], object], images: int, seconds: float) -> Turn:
    """Call for some time.

    Args:
        call: what is timed.
        images: that one call takes; each counts as long as its call.
        seconds: behind which no call is begun.
    """
    latencies: list[float] = []
    cpu, start = time.process_time(), time.perf_counter()
    while True:
        began = time.perf_counter()
        call()
        now = time.perf_counter()
        latencies += [now - began] * images
        if now - start >= seconds:
            return Turn(tuple(latencies), now - start, time.process_time() - cpu, images=len(latencies))
