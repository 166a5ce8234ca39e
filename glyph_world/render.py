"""Draw one scene: a pictogram in a colour and a style, with everything that makes a real picture hard, from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from candor.errors import InvalidInput
from glyph_world.colours import COLOURS
from glyph_world.pictograms import PICTOGRAMS
from glyph_world.styles import STYLES, Array, smooth

IMAGE_SIZE = 64  # pixels a side
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique")
COLOUR_JITTER = 0.05  # standard deviation of each RGB channel around the named colour, of 1
COLOUR_CAST = 0.1  # standard deviation of the log gain of each RGB channel: no camera has a perfect white balance


@dataclass(frozen=True)
class Scene:
    """What a picture shows. The pose, ground, blur, noise and occlusion follow from the seed."""

    pictogram: str
    colour: str
    style: str
    seed: int

    def __post_init__(self) -> None:
        for kind, value, valid in (
            ("pictogram", self.pictogram, PICTOGRAMS),
            ("colour", self.colour, COLOURS),
            ("style", self.style, STYLES),
        ):
            if value not in valid:
                raise InvalidInput(f"unknown {kind} {value!r}; the glyph world has: {', '.join(valid)}")


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(path), size)


def _mask(sign: str, rng: np.random.Generator) -> Array:
    """The sign's coverage (H, W) in 0..1: random font weight, size, rotation and place; ink always inside the picture."""
    font = _font(FONTS[rng.integers(len(FONTS))], 64)
    left, top, right, bottom = font.getbbox(sign)
    tile = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(tile).text((1 - left, 1 - top), sign, fill=255, font=font)
    extent = int(rng.uniform(0.65, 0.95) * IMAGE_SIZE)
    tile = tile.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR, expand=True)
    scale = extent / max(tile.size)
    tile = tile.resize((max(1, round(tile.width * scale)), max(1, round(tile.height * scale))), Image.Resampling.BILINEAR)
    x, y = (int(rng.integers(0, IMAGE_SIZE - side + 1)) for side in tile.size)
    canvas = Image.new("L", (IMAGE_SIZE, IMAGE_SIZE))
    canvas.paste(tile, (x, y))
    return np.asarray(canvas, np.float32) / 255.0


def _occlude(image: Array, rng: np.random.Generator) -> Array:
    """Half of the pictures have a bar of random colour over part of them."""
    if rng.random() < 0.5:
        height, width = (int(rng.uniform(0.08, 0.35) * IMAGE_SIZE) for _ in range(2))
        y, x = int(rng.integers(0, IMAGE_SIZE - height)), int(rng.integers(0, IMAGE_SIZE - width))
        image = image.copy()
        image[y : y + height, x : x + width] = rng.uniform(0, 1, 3)
    return image


def render(scene: Scene) -> Image.Image:
    """Draw a scene.

    Args:
        scene: what to draw; equal scenes give equal pixels.

    Returns:
        An RGB image of IMAGE_SIZE x IMAGE_SIZE pixels.
    """
    rng = np.random.default_rng(scene.seed)
    ink = np.float32(COLOURS[scene.colour]) + np.float32(rng.normal(0, COLOUR_JITTER, 3))
    image = STYLES[scene.style](_mask(PICTOGRAMS[scene.pictogram], rng), np.clip(ink, 0, 1), rng)
    image = image * np.exp(rng.normal(0, COLOUR_CAST, 3)).astype(np.float32)
    image = smooth(_occlude(image, rng), int(rng.choice([0, 0, 1, 2, 4])))
    image = image + rng.uniform(0.02, 0.12) * rng.standard_normal(image.shape, np.float32)
    return Image.fromarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8))
