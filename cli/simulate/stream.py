"""What the simulated callers send: pictures of the glyph world, in turn of base and new labels; at dusk dark and noisy."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from candor.clip.artifact import SCOPES, ArtifactConfig, Scope
from candor.errors import InvalidInput
from glyph_world.render import Scene, render
from glyph_world.tasks import find_task

# Dusk: less light, and the noise of a sensor whose gain is turned up.
DUSK_LIGHT = 0.7  # of the day's
DUSK_NOISE = 0.2  # standard deviation, of 1


@dataclass(frozen=True)
class Picture:
    """One question of the stream.

    Attributes:
        file: a PNG.
        label: what it shows.
        labels: that it is to be classified among.
        shifted: whether it was taken at dusk.
    """

    file: bytes
    label: str
    labels: tuple[str, ...]
    shifted: bool


class Stream:
    """Pictures without end; the same one for the same artifact, seed and number.

    Every other one shows a label that the prompt was tuned on, and is to be classified among those; the others show labels
    that it never saw, and are to be classified among these. So asked the artifact's own evaluation, which the drift is
    measured against.

    Args:
        artifact: tuned on a task of the glyph world.
        seed: of all that is random.

    Raises:
        InvalidInput: it was tuned on something else.
    """

    def __init__(self, artifact: ArtifactConfig, seed: int) -> None:
        dataset = str(artifact.training.get("dataset"))
        if not dataset.startswith("glyphs/"):
            raise InvalidInput(f"the simulation draws pictures of the glyph world; the artifact was tuned on {dataset!r}")
        self._task, self._seed = find_task(dataset.removeprefix("glyphs/")), seed
        base = artifact.base_classnames
        new = tuple(name for name in self._task.labels if name not in base)
        self._labels: dict[Scope, tuple[str, ...]] = {"base": base, "new": new}

    def picture(self, number: int, shifted: bool) -> Picture:
        """The picture of a number, by day or at dusk."""
        rng = np.random.default_rng([self._seed, number])
        labels = self._labels[SCOPES[number % 2]]
        label = str(rng.choice(labels))
        pictograms, colours = self._task.labels[label]
        scene = Scene(str(rng.choice(pictograms)), str(rng.choice(colours)), self._task.style, int(rng.integers(2**62)))
        image = render(scene)
        return Picture(_png(at_dusk(image, rng) if shifted else image), label, labels, shifted)


def at_dusk(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The same picture in less light, with normal noise, independent in each pixel and channel."""
    noise = rng.standard_normal((image.height, image.width, 3), np.float32)
    pixels = DUSK_LIGHT * np.asarray(image, np.float32) / 255 + DUSK_NOISE * noise
    return Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
