"""Fitting a temperature to labelled logits."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from candor.errors import InvalidInput

TEMPERATURE_RANGE = (0.05, 20.0)  # at 0.05 almost every confidence of CLIP is 1, at 20 almost every one is 1 / C
GRID = 41  # temperatures that are tried before the descent, evenly spaced in log T


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T that minimises the mean negative log-likelihood of softmax(logits / T) (Guo et al. 2017).

    In 1/T the loss is convex, so there is one minimum. It lies inside (0, infinity) unless every image is classified right
    (then a smaller T is always better) or the labels' logits are no higher than average (then a larger one is); in those
    cases, and where the minimum is outside TEMPERATURE_RANGE, the end of the range is returned. The minimum is found by
    LBFGS on log T in float64 from the best of a grid, and does not depend on a seed.

    Args:
        logits: (N, C), as the model scales them (times logit_scale).
        labels: (N,), each 0..C-1.

    Returns:
        T; 1 where every logit of each image is the same, so that T changes nothing.

    Raises:
        InvalidInput: no image, fewer than two labels, shapes that do not fit, a logit that is not finite, or a label that
            is no class.
    """
    _check(logits, labels)
    low, high = TEMPERATURE_RANGE
    with torch.inference_mode(False), torch.enable_grad():
        z, y = logits.detach().to(torch.float64, copy=True), labels.detach().to(torch.int64, copy=True)
        of_label = z.gather(-1, y[:, None]).squeeze(-1)
        if bool((z.amax(dim=-1) == z.amin(dim=-1)).all()):
            return 1.0
        if bool((of_label == z.amax(dim=-1)).all()):
            return low
        if float((of_label - z.mean(dim=-1)).sum()) <= 0:
            return high
        return min(max(math.exp(_descend(z, y, *_bracket(z, y))), low), high)


def _loss(z: Tensor, y: Tensor, log_t: Tensor) -> Tensor:
    return F.cross_entropy(z * torch.exp(-log_t), y)


def _bracket(z: Tensor, y: Tensor) -> tuple[float, float, float]:
    """The best log T of a grid over the range, and its neighbours (one step beyond the range at its ends)."""
    low, high = (math.log(t) for t in TEMPERATURE_RANGE)
    step = (high - low) / (GRID - 1)
    losses = torch.stack([_loss(z, y, torch.tensor(low + i * step, dtype=torch.float64)) for i in range(GRID)])
    best = low + int(losses.argmin()) * step
    return best - step, best, best + step


def _descend(z: Tensor, y: Tensor, low: float, start: float, high: float) -> float:
    log_t = torch.tensor(start, dtype=torch.float64, device=z.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [log_t], max_iter=100, tolerance_grad=1e-12, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = _loss(z, y, log_t)
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return min(max(log_t.item(), low), high)


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise InvalidInput(f"need logits (N, C) and labels (N,), got {tuple(logits.shape)} and {tuple(labels.shape)}")
    n, c = logits.shape
    if not n or c < 2:
        raise InvalidInput(f"a temperature is fitted on at least one image and two labels, got {n} and {c}")
    if not bool(torch.isfinite(logits).all()):
        raise InvalidInput("a temperature is fitted on finite logits, got NaN or infinity")
    if labels.is_floating_point() or bool(((labels < 0) | (labels >= c)).any()):
        raise InvalidInput(f"label must be an integer in 0..{c - 1}, got {labels.dtype} {labels.min()}..{labels.max()}")
