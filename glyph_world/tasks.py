"""Fine-grained downstream tasks. Each lives in one style that its template does not name; the context can learn it.

The world's settings (noise, jitter, styles, model, recipe) were chosen on DEVELOPMENT_TASKS, with their own pictograms and
image seeds; TASKS are what is reported.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import rgb_to_hsv

from candor.errors import InvalidInput
from glyph_world.colours import COLOURS
from glyph_world.pictograms import FAMILIES
from glyph_world.render import Scene


@dataclass(frozen=True)
class GlyphTask:
    """A label set and how its images look.

    Attributes:
        name: of the task.
        style: of all its images.
        labels: label -> (pictograms it may show, colours it may have). The first half are base, the others new.
    """

    name: str
    style: str
    labels: dict[str, tuple[Sequence[str], Sequence[str]]]

    def scenes(self, part: str, per_label: int) -> list[tuple[int, Scene]]:
        """Labelled scenes of one part ("train" or "test"), `per_label` of each label; the same at every call."""
        rng = np.random.default_rng(zlib.crc32(f"{self.name}/{part}".encode()))
        return [
            (number, Scene(str(rng.choice(pictograms)), str(rng.choice(colours)), self.style, int(rng.integers(2**62))))
            for number, (pictograms, colours) in enumerate(self.labels.values())
            for _ in range(per_label)
        ]


def by_hue(count: int) -> list[str]:
    """`count` colour names around the hue circle, evenly chosen from all."""
    ordered = sorted(COLOURS, key=lambda name: tuple(rgb_to_hsv(COLOURS[name])))
    return [ordered[i] for i in np.linspace(0, len(ordered) - 1, count).round().astype(int)]


def colour_task(name: str, style: str, pictograms: Sequence[str], colours: Sequence[str]) -> GlyphTask:
    """Labels "colour pictogram", all pairs of colours in the order of hue.

    Base has two opposite quarters of the hue circle and new the other two: neighbours stay together, and a light that takes
    away one side of the circle makes neither scope the harder one.
    """
    quarters = np.array_split(np.array(colours), 4)
    pairs = [(str(colour), sign) for q in (0, 2, 1, 3) for colour in quarters[q] for sign in pictograms]
    return GlyphTask(name, style, {f"{colour} {sign}": ([sign], [colour]) for colour, sign in pairs})


def family_task(name: str, style: str, signs: Sequence[str]) -> GlyphTask:
    """Labels are signs of any colour; every other one is base."""
    ordered = [*signs[0::2], *signs[1::2]]
    return GlyphTask(name, style, {sign: ([sign], list(COLOURS)) for sign in ordered})


def _tasks(*tasks: GlyphTask) -> dict[str, GlyphTask]:
    return {task.name: task for task in tasks}


DEVELOPMENT_TASKS = _tasks(
    colour_task("spades-and-hearts", "candlelit picture", ["spade", "heart"], by_hue(24)),
    family_task("zodiac-and-planets", "blueprint", [*FAMILIES["zodiac"], *FAMILIES["planet"]]),
    family_task("things", "blueprint", list(FAMILIES["thing"])),
)
TASKS = _tasks(
    colour_task("cats-and-cows", "candlelit picture", ["cat face", "cow face"], by_hue(24)),
    family_task("emblems-and-notes", "blueprint", [*FAMILIES["emblem"], *FAMILIES["music"]]),
    family_task("weather-and-plants", "blueprint", [*FAMILIES["weather"], *FAMILIES["nature"], *FAMILIES["warning"]]),
)


def find_task(name: str) -> GlyphTask:
    """A task by name.

    Raises:
        InvalidInput: there is none; the message lists all.
    """
    tasks = TASKS | DEVELOPMENT_TASKS
    if name not in tasks:
        raise InvalidInput(f"unknown glyph task {name!r}; valid: {', '.join(tasks)}")
    return tasks[name]
