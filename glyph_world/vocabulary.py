"""The phrases that a model of the glyph world knows: its own vocabulary, as WordNet is for real CLIP weights."""

from __future__ import annotations

from glyph_world.colours import COLOURS
from glyph_world.pictograms import PICTOGRAMS


def phrases() -> list[str]:
    """Every pictogram and colour, and every pair "colour pictogram"; some twelve thousand."""
    pairs = [f"{colour} {pictogram}" for pictogram in PICTOGRAMS for colour in COLOURS]
    return [*PICTOGRAMS, *(f"{colour} thing" for colour in COLOURS), *pairs]
