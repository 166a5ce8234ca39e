"""How far text features stand from each other, and from where the frozen model had them."""

from __future__ import annotations

import torch
from torch import Tensor

from candor.errors import InvalidInput

NEAREST = 5  # M of FD; the paper does not say (as DAC's K)


def feature_divergence(text_features: Tensor, nearest: int = NEAREST) -> float:
    """FD: mean Euclidean distance of a label's text feature to its M nearest others in the label set, averaged over labels.

    Args:
        text_features: (C, D) of L2 norm 1.
        nearest: M; at most C - 1 are used.

    Returns:
        0..2; NaN for fewer than two labels.
    """
    if nearest < 1:
        raise InvalidInput(f"number of nearest features must be at least 1, got {nearest}")
    n = len(text_features)
    if n < 2:
        return float("nan")
    features = text_features.double()
    distance = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    distance.fill_diagonal_(float("inf"))
    return float(distance.topk(min(nearest, n - 1), largest=False).values.mean())


def text_deviation(text_features: Tensor, zero_shot_text_features: Tensor) -> Tensor:
    """1 - cos(tuned, zero-shot) of each label's text feature: what DOR minimises on outliers.

    Args:
        text_features: (C, D) of L2 norm 1.
        zero_shot_text_features: (C, D) of L2 norm 1.

    Returns:
        (C,), each 0..2.
    """
    return 1 - (text_features * zero_shot_text_features).sum(dim=-1)
