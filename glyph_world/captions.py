"""Captions for scenes: varied wording and length, naming all, some or none of colour, pictogram and style."""

from __future__ import annotations

import numpy as np

from glyph_world.render import Scene

# {} is what is shown. The first is the template of every downstream task; none of these names a style.
PLAIN = (
    "a picture of a {}.",
    "{}",
    "a {}.",
    "a photo of a {}.",
    "an image of a {}.",
    "a small picture of a {}.",
    "this is a {}.",
    "there is a {} here.",
    "a cropped picture of the {}.",
    "a noisy picture of a {}.",
    "the {} is partly hidden.",
    "i think that this is a {}.",
    "one of many pictures of a {} that we have kept.",
    "what you can see in this little picture, if you look at it closely, is a {}.",
    "somebody sent us this picture of a {} and asked what it could be, so here it is.",
    "from the collection, number nine, on the second page and near the top, a {}.",
    "it is not easy to tell because of all the noise and the blur in it but this shows a {}.",
)

# {style} and {}: the style is named.
STYLED = (
    "a {style} of a {}.",
    "{style} of a {}",
    "a {}, {style}.",
    "this is a {style} of a {}.",
    "a {} in the manner of a {style}.",
    "a small {style}, and it shows a {}.",
    "in this {style}, which somebody made a long time ago, there is a {}.",
    "as far as we can tell this one is a {style} and what it shows is a {} with some noise.",
)


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One caption of a scene; which words it has is random."""
    what = rng.random()
    if what < 0.80:
        shown = f"{scene.colour} {scene.pictogram}"
    elif what < 0.92:
        shown = scene.pictogram
    else:
        shown = f"{scene.colour} thing"
    if rng.random() < 0.5:
        return PLAIN[rng.integers(len(PLAIN))].format(shown)
    return STYLED[rng.integers(len(STYLED))].format(shown, style=scene.style)
