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
from glyph_world import TEMPLATE
from glyph_world.colours import COLOURS
from glyph_world.pictograms import FAMILIES
from glyph_world.render import render
from glyph_world.styles import STYLES
from glyph_world.tasks import TASKS, GlyphTask, by_hue, colour_task, family_task

LABELS = 24  # in a label set
PICTURES = 5  # of a label


def auxiliary_label_sets(count: int, seed: int) -> list[GlyphTask]:
    """Label sets built like the downstream ones, in every style in turn, without the pictograms of any reported task.

    Every other one is twelve neighbouring colours of two pictograms; the rest are pictograms of neighbouring families.
    """
    rng = np.random.default_rng([seed, 4])
    reported = {sign for task in TASKS.values() for signs, _ in task.labels.values() for sign in signs}
    signs = [sign for family in FAMILIES.values() for sign in family if sign not in reported]
    colours, styles = by_hue(len(COLOURS)), list(STYLES)
    sets = []
    for number in range(count):
        name, style = f"auxiliary {seed} {number}", styles[number // 2 % len(styles)]
        if number % 2:
            start = int(rng.integers(len(signs) - LABELS))
            sets.append(family_task(name, style, signs[start : start + LABELS]))
        else:
            start = int(rng.integers(len(colours) - LABELS // 2))
            pair = [str(sign) for sign in rng.choice(signs, 2, replace=False)]
            sets.append(colour_task(name, style, pair, colours[start : start + LABELS // 2]))
    return sets


def fit_logit_scale(backbone: Backbone, seed: int, sets: int = 64) -> float:
    """The log of the scale that minimises the mean negative log-likelihood over auxiliary label sets.

    Args:
        backbone: the pretrained model.
        seed: of the label sets.
        sets: label sets; the fit is to all at once.

    Returns:
        ln of the factor from cosine to logit.
    """
    cosines: list[Tensor] = []
    for task in auxiliary_label_sets(sets, seed):
        text_features = backbone.encode_text(fill(TEMPLATE, list(task.labels)))
        pictures = [render(scene) for _, scene in task.scenes("test", PICTURES)]
        cosines.append(backbone.encode_images(pictures) @ text_features.T)
    targets = torch.arange(LABELS).repeat_interleave(PICTURES)
    grid = np.linspace(math.log(5), math.log(100), 400)
    losses = [np.mean([F.cross_entropy(math.exp(s) * c, targets).item() for c in cosines]) for s in grid]
    return float(grid[int(np.argmin(losses))])
