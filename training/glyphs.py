"""The glyph world as an ordinary data set."""

from __future__ import annotations

from functools import partial

from glyph_world.render import render
from glyph_world.tasks import TEMPLATE, find_task
from training.data import ImageDataset, Sample

TRAIN_PER_LABEL, TEST_PER_LABEL = 32, 160


def glyphs(task: str) -> ImageDataset:
    """A downstream task; its images are drawn when they are opened.

    Raises:
        InvalidInput: no such task.
    """
    world = find_task(task)
    train, test = (
        tuple(Sample(label, partial(render, scene)) for label, scene in world.scenes(part, count))
        for part, count in (("train", TRAIN_PER_LABEL), ("test", TEST_PER_LABEL))
    )
    return ImageDataset(f"glyphs/{task}", tuple(world.labels), TEMPLATE, train, test)
