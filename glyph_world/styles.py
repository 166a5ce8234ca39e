"""Rendering styles. A style turns a pictogram's mask and colour into a picture, and is a word that captions may name.

Some change how a colour *looks* (a watercolour red is pink, candlelight turns white to cream), so a picture alone leaves
doubt that its style's name resolves. That is the headroom a tuned context can win on a task that lives in one style.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Painter = Callable[[Array, Array, np.random.Generator], Array]


def smooth(image: Array, passes: int) -> Array:
    """Blur with `passes` rounds of the binomial kernel [1, 2, 1] / 4 along both axes (variance passes / 2 pixels^2)."""
    for _ in range(passes):
        for axis in (0, 1):
            pad = [(1, 1) if a == axis else (0, 0) for a in range(image.ndim)]
            p = np.pad(image, pad, mode="edge")
            n = image.shape[axis]
            image = 0.25 * (p.take(range(n), axis) + p.take(range(2, n + 2), axis)) + 0.5 * image
    return image


def _over(mask: Array, ink: Array, ground: Array) -> Array:
    return ground + mask[..., None] * (ink - ground)


def _ground(rng: np.random.Generator, size: int, low: float = 0.0, high: float = 1.0) -> Array:
    """A linear gradient between two random colours, in a random direction."""
    a, b = rng.uniform(low, high, (2, 3)).astype(np.float32)
    b = a + 0.5 * (b - a)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    t = (np.cos(angle) * x + np.sin(angle) * y + 0.7) / 1.4
    return (a + t[..., None] * (b - a)).astype(np.float32)


def drawing(mask: Array, ink: Array, rng: np.random.Generator) -> Array:
    """Flat ink on a plain ground."""
    return _over(mask, ink, _ground(rng, len(mask)))


def blueprint(mask: Array, ink: Array, rng: np.random.Generator) -> Array:
    """The outline, in the ink mixed with chalk blue, over a ruled dark blue sheet."""
    ground = np.tile(np.float32([0.10, 0.18, 0.42]) + np.float32(rng.normal(0, 0.04, 3)), (*mask.shape, 1))
    ground[:: int(rng.integers(6, 11))] += 0.08
    ground[:, :: int(rng.integers(6, 11))] += 0.08
    outline = np.clip(np.abs(mask - smooth(mask, 4)) * 3.0, 0, 1)
    outline = np.maximum(outline, 0.35 * mask)
    return _over(outline, 0.6 * ink + 0.4 * np.float32([0.75, 0.85, 1.0]), ground)


def neon(mask: Array, ink: Array, rng: np.random.Generator) -> Array:
    """A tube of light with its glow, on a dark wall."""
    glow = np.clip(smooth(mask, 10) * 0.9, 0, 1)
    wall = _ground(rng, len(mask), 0.0, 0.2)
    return np.clip(wall + glow[..., None] * ink * 0.8 + 0.45 * mask[..., None] * (0.5 + 0.5 * ink), 0, 1)


def watercolour(mask: Array, ink: Array, rng: np.random.Generator) -> Array:
    """Thinned ink with soft, uneven edges on paper."""
    paper = 0.9 + 0.1 * _ground(rng, len(mask))
    wash = smooth(rng.uniform(0.3, 1.0, mask.shape).astype(np.float32), 6)
    return _over(smooth(mask, 2) * np.clip(wash, 0, 1), ink, paper)


def chalk(mask: Array, ink: Array, rng: np.random.Generator) -> Array:
    """Whitened, crumbling ink on a dark board."""
    board = np.tile(np.float32([0.13, 0.18, 0.16]) + np.float32(rng.normal(0, 0.03, 3)), (*mask.shape, 1))
    grain = (rng.random(mask.shape) > 0.3).astype(np.float32)
    return _over(mask * smooth(grain, 1), 0.65 * ink + 0.35, board)


def faded(mask: Array, ink: Array, rng: np.random.Generator) -> Array:
    """A drawing that the sun has bleached: less colour, less contrast."""
    image = drawing(mask, ink, rng)
    grey = image.mean(axis=-1, keepdims=True)
    keep = rng.uniform(0.5, 0.75)
    return (0.8 * (keep * image + (1 - keep) * grey) + 0.15).astype(np.float32)


def candlelit(mask: Array, ink: Array, rng: np.random.Generator) -> Array:
    """A drawing under warm light: blue is lost first."""
    light = np.float32([1.0, rng.uniform(0.8, 0.9), rng.uniform(0.6, 0.75)])
    return drawing(mask, ink, rng) * light


def moonlit(mask: Array, ink: Array, rng: np.random.Generator) -> Array:
    """A drawing under dim blue light: red is lost first."""
    light = np.float32([rng.uniform(0.5, 0.65), rng.uniform(0.65, 0.78), rng.uniform(0.85, 1.0)])
    return drawing(mask, ink, rng) * light


STYLES: dict[str, Painter] = {
    "drawing": drawing,
    "blueprint": blueprint,
    "neon sign": neon,
    "watercolour": watercolour,
    "chalk drawing": chalk,
    "faded print": faded,
    "candlelit picture": candlelit,
    "moonlit picture": moonlit,
}
