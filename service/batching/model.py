"""A model and the threads that work for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from service.batching.images import decode_image
from service.batching.micro_batcher import MicroBatcher
from service.classifier import Classifier
from service.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")


class Model:
    """A classifier's image tower behind a decode pool and a micro-batcher, and the one thread that the model has.

    Args:
        classifier: whose images are encoded.
        settings: limits.
    """

    def __init__(self, classifier: Classifier, settings: Settings) -> None:
        self._classifier, self._max_pixels = classifier, settings.max_pixels
        self._decoders = ThreadPoolExecutor(os.cpu_count() or 1, "decode")
        self._thread = ThreadPoolExecutor(1, "model")  # torch uses all cores itself
        self._images: MicroBatcher[Tensor, Tensor] = MicroBatcher(
            self._encode, self._thread, settings.max_batch, settings.max_queue
        )

    async def pixels(self, data: bytes, field: str) -> Tensor:
        """The bytes of a file as the image tower takes them, (3, H, W).

        Raises:
            ApiError: 413 or 415, about `field`.
        """
        return await asyncio.get_running_loop().run_in_executor(self._decoders, self._decode, data, field)

    async def image_features(self, pixels: Sequence[Tensor], deadline: float = float("inf")) -> Tensor:
        """Image features, (B, D), in batches with those of other callers.

        Raises:
            ApiError: 503 where too many wait, or the deadline passed.
        """
        return torch.stack(await self._images.submit(pixels, deadline))

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Other work of the model, in turn with its images."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args, **kwargs))

    def _decode(self, data: bytes, field: str) -> Tensor:
        return self._classifier.preprocess(decode_image(data, self._max_pixels, field))

    def _encode(self, pixels: list[Tensor]) -> Sequence[Tensor]:
        return self._classifier.encode_images(torch.stack(pixels)).unbind()
