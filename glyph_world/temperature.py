"""One temperature for the pretrained model, fitted on auxiliary label sets (LeVine et al. 2023, arXiv 2303.12748).

The contrastive loss fits logit_scale to its batches, most of whose captions are easy to tell apart; among close labels the
small model is then about 12 points less sure than it is right. Real CLIP is nearly calibrated there. One scalar, fitted on
pictures of the pretraining distribution and labels of no downstream task, makes up for it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from candor.clip.backbone import Backbone
from candor.clip.templates import fill
from glyph_world.colours import COLOURS
from glyph_world.pictograms import FAMILIES
from glyph_world.render import Scene, render
from glyph_world.styles import STYLES
from glyph_world.tasks import TASKS, TEMPLATE, by_hue

LABELS = 24  # in a label set
PICTURES = 5  # of a label


def auxiliary_label_sets(count: int, seed: int) -> list[dict[str, Scene]]:
    """Label sets as close as the downstream ones, without their pictograms: label -> a scene to vary.

    Half are neighbouring colours of one pictogram, half are pictograms of neighbouring families; each in one style.
    """
    rng = np.random.default_rng([seed, 4])
    reported = {sign for task in TASKS.values() for signs, _ in task.labels.values() for sign in signs}
    signs = [sign for family in FAMILIES.values() for sign in family if sign not in reported]
    colours, styles = by_hue(len(COLOURS)), list(STYLES)
    sets = []
    for number in range(count):
        style = styles[number // 2 % len(styles)]
        if number % 2:
            start = int(rng.integers(len(signs) - LABELS))
            chosen = signs[start : start + LABELS]
            sets.append({sign: Scene(sign, str(rng.choice(colours)), style, 0) for sign in chosen})
        else:
            start, sign = int(rng.integers(len(colours) - LABELS)), str(rng.choice(signs))
            chosen = colours[start : start + LABELS]
            sets.append({f"{colour} {sign}": Scene(sign, colour, style, 0) for colour in chosen})
    return sets


def fit_logit_scale(backbone: Backbone, seed: int, sets: int = 64) -> float:
    """The log of the scale that minimises the mean negative log-likelihood over auxiliary label sets.

    Args:
        backbone: the pretrained model.
        seed: of label sets and pictures.
        sets: label sets; the fit is to all at once.

    Returns:
        ln of the factor from cosine to logit.
    """
    rng = np.random.default_rng([seed, 5])
    cosines: list[Tensor] = []
    for labels in auxiliary_label_sets(sets, seed):
        text_features = backbone.encode_text(fill(TEMPLATE, list(labels)))
        seeds = rng.integers(2**62, size=(len(labels), PICTURES))
        pictures = [
            render(Scene(scene.pictogram, str(rng.choice(list(COLOURS))) if label == scene.pictogram else scene.colour,
                         scene.style, int(s)))
            for (label, scene), row in zip(labels.items(), seeds, strict=True)
            for s in row
        ]
        cosines.append(backbone.encode_images(pictures) @ text_features.T)
    targets = torch.arange(LABELS).repeat_interleave(PICTURES)
    grid = np.linspace(math.log(5), math.log(100), 400)
    losses = [np.mean([F.cross_entropy(math.exp(s) * c, targets).item() for c in cosines]) for s in grid]
    return float(grid[int(np.argmin(losses))])
