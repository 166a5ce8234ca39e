"""Open-set scores: how surely an image shows one of the labels it was classified among, and a threshold on that.

High means known, as in the papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from candor.errors import InvalidInput

ScoreName = Literal["mcm", "neglabel"]
TRUE_POSITIVE_RATE = 0.95  # of both papers


class OpenSetThreshold(BaseModel):
    """From which score on an image counts as known: as `threshold_at` found it on held-out images of base labels.

    Attributes:
        score: which score.
        threshold: the lowest score of a known image, among `labels` labels.
        true_positive_rate: share of the held-out images that it was to keep, above 0 and at most 1.
        images: how many held-out images there were.
        labels: how many labels they were scored among.
        vocabulary: digest of the vocabulary index that NegLabel drew its negatives from; None for MCM.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    score: ScoreName
    threshold: float = Field(allow_inf_nan=False, ge=0, le=1)
    true_positive_rate: float = Field(gt=0, le=1)
    images: int = Field(ge=1)
    labels: int = Field(ge=1)
    vocabulary: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> OpenSetThreshold:
        if (self.score == "neglabel") != (self.vocabulary is not None):
            raise ValueError(f"score {self.score!r} with vocabulary {self.vocabulary!r}; only NegLabel has one, and always")
        if self.score == "mcm" and not (self.labels >= 2 and 0 < self.threshold < 1):
            raise ValueError(
                f"MCM's threshold is above 0, below 1 and of at least 2 labels, got {self.threshold} of {self.labels}: "
                "among one label it is 1 for every image"
            )
        return self

    def at(self, labels: int) -> float:
        """The threshold among another number of labels C; an image with at least this score is known.

        MCM is a share of all C labels, about 1 / C whatever the image, so its threshold has to move with C: what is held
        fixed is exp(cos_best / T) over the *mean* of exp(cos_c / T) of the other labels, MCM / (1 - MCM) * (C - 1). Among
        one label MCM is 1 for every image and so is the threshold: everything is known. NegLabel compares with negatives
        instead, and its threshold stays.

        Raises:
            InvalidInput: no label.
        """
        if labels < 1:
            raise InvalidInput(f"a threshold among {labels} labels: at least 1 is needed")
        if self.score == "neglabel" or labels == self.labels:
            return self.threshold
        ratio = self.threshold / (1 - self.threshold) * (self.labels - 1)
        return ratio / (ratio + labels - 1)


def mcm(cosines: Tensor, temperature: float = 1.0) -> Tensor:
    """Maximum concept matching, max_c softmax(cos_c / T) (Ming et al., NeurIPS 2022, eq. 2).

    T = 1 on the raw cosine is the paper's own; it is not the model's logit scale. Among one label it is 1.

    Args:
        cosines: of images to labels, (..., C).
        temperature: T.

    Returns:
        (...), 1/C..1.

    Raises:
        InvalidInput: no label, or T is not above 0.
    """
    if not cosines.shape[-1] or temperature <= 0:
        raise InvalidInput(f"MCM of {cosines.shape[-1]} labels at T = {temperature}: at least 1 label and T > 0 are needed")
    return torch.softmax(cosines / temperature, dim=-1).amax(dim=-1)


def neglabel(label_logits: Tensor, negative_logits: Tensor, groups: int = 100) -> Tensor:
    """NegLabel's score with grouping (Jiang et al., ICLR 2024, eqs. 6 and 8).

    S = mean over G groups g of sum_labels exp(z) / (sum_labels exp(z) + sum_{n in g} exp(z)), for logits z (the paper's
    cos / tau with tau = 0.01 is CLIP's own logit scale). Every quotient is computed as sigmoid of a difference of two
    logsumexp, so no logit is too large or too small.

    Args:
        label_logits: (..., C).
        negative_logits: (..., M), in an order that mixes them: groups are runs of M // G. The remainder is dropped.
        groups: G; with fewer negatives, a group each.

    Returns:
        (...), 0..1.

    Raises:
        InvalidInput: no label, no negative, or no group.
    """
    found, negatives = label_logits.shape[-1], negative_logits.shape[-1]
    if not found or not negatives or groups < 1:
        raise InvalidInput(f"NegLabel of {found} labels, {negatives} negatives and {groups} groups: each needs at least 1")
    groups = min(groups, negatives)
    size = negatives // groups
    grouped = negative_logits[..., : groups * size].reshape(*negative_logits.shape[:-1], groups, size)
    return torch.sigmoid(label_logits.logsumexp(dim=-1, keepdim=True) - grouped.logsumexp(dim=-1)).mean(dim=-1)


def check_rate(true_positive_rate: float) -> float:
    """A true-positive rate as it is.

    Raises:
        InvalidInput: it is not above 0 and at most 1.
    """
    if not 0 < true_positive_rate <= 1:
        raise InvalidInput(f"a true-positive rate is above 0 and at most 1, got {true_positive_rate}")
    return true_positive_rate


def threshold_at(scores: ArrayLike, true_positive_rate: float = TRUE_POSITIVE_RATE) -> float:
    """The largest threshold t with share(scores >= t) >= rate: the score of rank ceil(rate N) from the top.

    Args:
        scores: of N known images.
        true_positive_rate: above 0, at most 1.

    Raises:
        InvalidInput: no score, a NaN, or a rate outside.
    """
    ordered = np.sort(_finite(scores, "known"))[::-1]
    check_rate(true_positive_rate)
    count = int(np.ceil(true_positive_rate * len(ordered)))
    if (count - 1) / len(ordered) >= true_positive_rate:  # 0.07 * 100 is a little more than 7
        count -= 1
    return float(ordered[max(count, 1) - 1])


def fpr_at_tpr(known: ArrayLike, unknown: ArrayLike, true_positive_rate: float = TRUE_POSITIVE_RATE) -> float:
    """Share of unknown images that pass for known at `threshold_at(known, rate)`, 0..1; FPR95 at a rate of .95."""
    return float((_finite(unknown, "unknown") >= threshold_at(known, true_positive_rate)).mean())


def auroc(known: ArrayLike, unknown: ArrayLike) -> float:
    """The probability that a known image scores higher than an unknown one, ties counted half, 0..1.

    This is the area under the ROC curve (Mann and Whitney's U over the number of pairs).

    Args:
        known: scores of known images.
        unknown: scores of unknown images.

    Raises:
        InvalidInput: one of them is empty or holds a NaN.
    """
    positive, negative = _finite(known, "known"), np.sort(_finite(unknown, "unknown"))
    below, not_above = (np.searchsorted(negative, positive, side) for side in ("left", "right"))
    return float((below.astype(np.float64) + not_above).mean() / (2 * len(negative)))


def aupr(known: ArrayLike, unknown: ArrayLike) -> float:
    """Average precision with known as the positive class, sum_n (R_n - R_{n-1}) P_n over falling distinct scores, 0..1.

    Chance is the share of known images, so values compare only between equal mixtures.

    Args:
        known: scores of known images.
        unknown: scores of unknown images.

    Raises:
        InvalidInput: one of them is empty or holds a NaN.
    """
    positive, negative = np.sort(_finite(known, "known")), np.sort(_finite(unknown, "unknown"))
    steps = np.unique(positive)  # recall rises nowhere else
    hits = len(positive) - np.searchsorted(positive, steps, "left")
    false = len(negative) - np.searchsorted(negative, steps, "left")
    gained = hits - np.append(hits[1:], 0)
    return float((gained / len(positive) * (hits / (hits + false))).sum())


def figures(known: ArrayLike, unknown: ArrayLike) -> dict[str, float]:
    """The three figures of the papers: "auroc", "fpr95" and "aupr"."""
    return {"auroc": auroc(known, unknown), "fpr95": fpr_at_tpr(known, unknown), "aupr": aupr(known, unknown)}


def matching_threshold(
    thresholds: Sequence[OpenSetThreshold], score: ScoreName, vocabulary: str | None
) -> OpenSetThreshold | None:
    """The threshold of a score with a vocabulary; None where none was fitted: a threshold is of no use for another one."""
    return next((t for t in thresholds if (t.score, t.vocabulary) == (score, vocabulary)), None)


def _finite(scores: ArrayLike, kind: str) -> NDArray[np.float64]:
    values = np.asarray(scores, np.float64).ravel()
    if not len(values) or np.isnan(values).any():
        raise InvalidInput(f"{len(values)} scores of {kind} images, {int(np.isnan(values).sum())} of them NaN")
    return values
