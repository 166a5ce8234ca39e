"""Scores of labels by themselves: how surely an image shows each, whatever the other labels are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from candor.errors import InvalidInput

WORDS = 300  # that a label has to stand out from: of 1000, 300, 100 and 30 the best F1 at 0.5 in the glyph world


def multi_label(label_logits: Tensor, background_logits: Tensor, rivals: Tensor, words: float = WORDS) -> Tensor:
    """Scores of labels, each against its own rivals in a fixed background of words.

    score_i = exp(l_i) / (exp(l_i) + W mean_{j in R_i} exp(b_j)), for logits l of labels and b of background words: the
    probability that the image shows label i rather than any of W words such as its rivals R_i. R_i leaves out what means
    the same as the label. No other label is in it, so scores do not add up to 1, and a label set can grow and shrink.

    Args:
        label_logits: scaled cosines of images to labels, (B, C).
        background_logits: of the same images to the background, (B, M).
        rivals: which words are rivals of which label, (C, M) bool; each label has at least one.
        words: W, above 0.

    Returns:
        (B, C) float32 in 0..1.

    Raises:
        InvalidInput: the shapes do not fit each other, a label has no rival, or W is not above 0.
    """
    (images, labels), background = label_logits.shape, background_logits.shape[-1]
    if background_logits.shape != (images, background) or rivals.shape != (labels, background):
        shapes = ", ".join(str(tuple(each.shape)) for each in (label_logits, background_logits, rivals))
        raise InvalidInput(f"logits of labels (B, C), of words (B, M) and rivals (C, M) do not fit each other: {shapes}")
    counts = rivals.sum(dim=-1)
    if words <= 0 or not bool((counts > 0).all()):
        raise InvalidInput(f"{words} words, and at least one label without a rival: both must be above 0")
    logits = background_logits.double()
    highest = logits.amax(dim=-1, keepdim=True)  # float64 holds exp(-700): further down than any scaled cosine
    sums = (logits - highest).exp() @ rivals.T.double()
    against = sums.log() + highest - counts.double().log() + math.log(words)
    return torch.sigmoid(label_logits.double() - against).float()
