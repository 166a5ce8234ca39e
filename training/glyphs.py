"""The glyph world as an ordinary data set."""

from __future__ import annotations

import zlib
from functools import partial

import numpy as np

from glyph_world import TEMPLATE
from glyph_world.colours import COLOURS
from glyph_world.pictograms import PICTOGRAMS
from glyph_world.render import Scene, render
from glyph_world.tasks import find_task
from training.data import ImageDataset, Sample

TRAIN_PER_LABEL, TEST_PER_LABEL = 32, 160
OTHER_PER_PICTOGRAM = 2
NO_LABEL = -1


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


def other_pictograms(task: str, each: int = OTHER_PER_PICTOGRAM) -> tuple[Sample, ...]:
    """Pictures in a task's style of what none of its labels shows: every other pictogram, in colours drawn from all.

    Args:
        task: its name.
        each: pictures of each pictogram.

    Returns:
        Samples of no label (NO_LABEL); the same at every call.

    Raises:
        InvalidInput: no such task.
    """
    world = find_task(task)
    shown = {pictogram for pictograms, _ in world.labels.values() for pictogram in pictograms}
    rng = np.random.default_rng(zlib.crc32(f"{task}/other".encode()))
    scenes = (
        Scene(pictogram, str(rng.choice(list(COLOURS))), world.style, int(rng.integers(2**62)))
        for pictogram in PICTOGRAMS
        if pictogram not in shown
        for _ in range(each)
    )
    return tuple(Sample(NO_LABEL, partial(render, scene)) for scene in scenes)
