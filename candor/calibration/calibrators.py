"""Post-hoc calibrators: from logits to probabilities, without a change to which label is predicted.

Every calibrator multiplies all logits of an image by one positive factor, chosen by the label that is predicted. That keeps
their order, so the accuracy of a model is the same under every calibrator; `calibrated` keeps it also where rounding makes
two probabilities equal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from candor.errors import InvalidInput

NEAREST, NEAR = 5, 0.05  # of the distance factor, as the authors of DAC


@dataclass(frozen=True)
class LabelGeometry:
    """Where a label set stands among the base labels, in tuned and in zero-shot text space. All rows are of L2 norm 1.

    Attributes:
        text_features: tuned, of the labels, (C, D).
        zero_shot_text_features: of the labels, (C, D).
        base_text_features: tuned, of the labels that the prompt was tuned on, (B, D); B may be 0 where nothing was tuned.
        base_zero_shot_text_features: of the same labels, (B, D).
        is_base: which of the labels the prompt was tuned on, by name, (C,) bool.
    """

    text_features: Tensor
    zero_shot_text_features: Tensor
    base_text_features: Tensor
    base_zero_shot_text_features: Tensor
    is_base: Tensor


class _Calibrator(BaseModel, ABC):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @abstractmethod
    def multiplier(self, labels: LabelGeometry) -> Tensor:
        """What the logits of an image are multiplied by, for each label that it may be predicted as.

        Args:
            labels: the label set that the logits are over, in the same order.

        Returns:
            (C,) float64 on the features' device, each above 0.

        Raises:
            InvalidInput: see `distance_factor`, for the calibrators that use it.
        """

    @property
    def distances(self) -> tuple[int, float]:
        """K and `near` of `gamma`: the calibrator's own, or the authors' where it does not use it."""
        return NEAREST, NEAR

    def gamma(self, labels: LabelGeometry) -> Tensor:
        """`distance_factor` with `distances`: receipts keep it, whether or not the calibrator uses it.

        Raises:
            InvalidInput: see `distance_factor`.
        """
        return distance_factor(labels, *self.distances)

    def for_labels(self, labels: LabelGeometry) -> Callable[[Tensor], Tensor]:
        """The calibrator for one label set; the multipliers are computed once.

        Args:
            labels: the label set that the logits will be over, in the same order.

        Returns:
            `calibrated` with these multipliers: from logits (..., C) to probabilities (..., C).

        Raises:
            InvalidInput: see `multiplier`.
        """
        return partial(calibrated, multiplier=self.multiplier(labels))


class TemperatureCalibrator(_Calibrator):
    """softmax(logits / T), the same T for every label (Guo et al. 2017). T = 1 leaves the model's own confidence.

    Attributes:
        temperature: T.
    """

    kind: Literal["temperature"] = "temperature"
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)

    def multiplier(self, labels: LabelGeometry) -> Tensor:
        """1 / T."""
        return _ones(labels) / self.temperature


class DistanceAwareCalibrator(_Calibrator):
    """DAC (Wang et al., ICML 2024), with a temperature after it: softmax(gamma_(argmax z) z / T) for logits z.

    Attributes:
        nearest: K of `distance_factor`.
        near: of `distance_factor`.
        temperature: T, applied after the distance factor.
    """

    kind: Literal["dac"] = "dac"
    nearest: int = Field(NEAREST, ge=1)
    near: float = Field(NEAR, ge=0, allow_inf_nan=False)
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)

    @property
    def distances(self) -> tuple[int, float]:
        """Its own."""
        return self.nearest, self.near

    def multiplier(self, labels: LabelGeometry) -> Tensor:
        """The distance factor over T."""
        return self.gamma(labels) / self.temperature


class ScopedCalibrator(_Calibrator):
    """A temperature for base labels and another one for new labels: softmax(gamma_i^s z / T_scope(i)), i = argmax z.

    What tuning does to confidence differs between the labels that it saw and the others, so one temperature cannot be
    right for both. s = 0 is two plain temperatures, s = 1 is DAC. gamma is 1 for base labels: s matters for new ones only.

    Attributes:
        base: T where a base label is predicted.
        new: T where a new label is.
        strength: s.
        nearest: K of `distance_factor`.
        near: of `distance_factor`.
    """

    kind: Literal["scoped"] = "scoped"
    base: float = Field(1.0, gt=0, allow_inf_nan=False)
    new: float = Field(1.0, gt=0, allow_inf_nan=False)
    strength: float = Field(0.0, ge=0, allow_inf_nan=False)
    nearest: int = Field(NEAREST, ge=1)
    near: float = Field(NEAR, ge=0, allow_inf_nan=False)

    @property
    def distances(self) -> tuple[int, float]:
        """Its own."""
        return self.nearest, self.near

    def multiplier(self, labels: LabelGeometry) -> Tensor:
        """gamma^s / T of each label's scope."""
        one = _ones(labels)
        is_base = labels.is_base.to(one.device)
        temperature = torch.where(is_base, self.base * one, self.new * one)
        gamma = torch.where(is_base, one, self.gamma(labels)) if self.strength else one  # whatever `near` is
        return gamma**self.strength / temperature


Calibrator: TypeAlias = Annotated[
    TemperatureCalibrator | DistanceAwareCalibrator | ScopedCalibrator, Field(discriminator="kind")
]


def distance_factor(labels: LabelGeometry, nearest: int = NEAREST, near: float = NEAR) -> Tensor:
    """The gamma of DAC: how much less (or more) sure a prediction becomes by how far tuning moved its label.

    gamma_i = exp(d_zs(i) - d_ft(i)), where d(i) is the mean L2 distance of label i's text feature to its K nearest base
    text features, in zero-shot (zs) and in tuned (ft) space. A label that tuning pushed away from the base labels gets a
    factor below 1, so a prediction of it becomes less sure. gamma is not clipped: it can also be above 1. It is 1 where the
    nearest tuned base feature is closer than `near`, so base labels keep the model's own confidence. As the authors' code.

    Args:
        labels: with at least one base label.
        nearest: K; at most the number of base labels are used.
        near: a label closer than this to a base label counts as one.

    Returns:
        (C,) float64, each above 0.

    Raises:
        InvalidInput: there is no base label, or the shapes do not fit.
    """
    if not len(labels.base_text_features):
        raise InvalidInput("distance-aware calibration needs the base labels that the prompt was tuned on, got none")
    tuned = _distances(labels.text_features, labels.base_text_features)
    zero_shot = _distances(labels.zero_shot_text_features, labels.base_zero_shot_text_features)
    if tuned.shape != zero_shot.shape:
        raise InvalidInput(f"tuned and zero-shot text features differ in number: {tuned.shape}, {zero_shot.shape}")
    k = min(nearest, tuned.shape[1])
    mean_tuned, mean_zero_shot = (d.topk(k, largest=False).values.mean(dim=-1) for d in (tuned, zero_shot))
    gamma = (mean_zero_shot - mean_tuned).exp()
    return torch.where(tuned.amin(dim=-1) < near, torch.ones_like(gamma), gamma)


def calibrated(logits: Tensor, multiplier: Tensor) -> Tensor:
    """softmax(m_(argmax z) z) of logits z in float64, whose largest entry is where the largest logit is.

    Rounding can make the two largest probabilities equal, and then the first of them would be the prediction. Where that
    would change it, the right one is raised by the smallest step there is.

    Args:
        logits: (..., C), as the model scales them.
        multiplier: m of each label, (C,) float64.

    Returns:
        (..., C), rows summing to 1; float64 for float64 logits, otherwise float32.

    Raises:
        InvalidInput: the logits are over another number of labels.
    """
    if logits.shape[-1] != len(multiplier):
        raise InvalidInput(f"logits over {logits.shape[-1]} labels, but the calibrator was made for {len(multiplier)}")
    top = logits.argmax(dim=-1, keepdim=True)
    z = logits.double()
    scaled = (z - z.amax(dim=-1, keepdim=True)) * multiplier.to(z.device)[top]
    p = scaled.softmax(dim=-1).to(logits.dtype if logits.dtype == torch.float64 else torch.float32)
    best, predicted = p.max(dim=-1, keepdim=True)
    raised = torch.where(predicted == top, p.gather(-1, top), best.nextafter(torch.ones_like(best)))
    return p.scatter(-1, top, raised)


def _ones(labels: LabelGeometry) -> Tensor:
    return torch.ones(len(labels.text_features), dtype=torch.float64, device=labels.text_features.device)


def _distances(features: Tensor, base_features: Tensor) -> Tensor:
    """L2 distances (C, B) in float64, from differences: exact also where two features are almost the same."""
    return torch.cdist(features.double(), base_features.double(), compute_mode="donot_use_mm_for_euclid_dist")
