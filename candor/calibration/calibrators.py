"""Post-hoc calibrators: from logits to probabilities, without a change to which label is predicted.

Every calibrator multiplies all logits of an image by one positive factor. That keeps their order, so the accuracy of a
model is the same under every calibrator; `_softmax` keeps it also where rounding makes two probabilities equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from candor.errors import InvalidInput


@dataclass(frozen=True)
class LabelGeometry:
    """Where a label set stands among the base labels, in tuned and in zero-shot text space. All rows are of L2 norm 1.

    Attributes:
        text_features: tuned, of the labels, (C, D).
        zero_shot_text_features: of the labels, (C, D).
        base_text_features: tuned, of the labels that the prompt was tuned on, (B, D); B may be 0 where nothing was tuned.
        base_zero_shot_text_features: of the same labels, (B, D).
    """

    text_features: Tensor
    zero_shot_text_features: Tensor
    base_text_features: Tensor
    base_zero_shot_text_features: Tensor


class _Calibrator(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TemperatureCalibrator(_Calibrator):
    """softmax(logits / T), the same T for every label (Guo et al. 2017). T = 1 leaves the model's own confidence.

    Attributes:
        temperature: T.
    """

    needs_base: ClassVar[bool] = False  # whether `for_labels` looks at the base labels

    kind: Literal["temperature"] = "temperature"
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities of scaled logits.

        Args:
            logits: (..., C).

        Returns:
            (..., C), rows summing to 1; float64 for float64 logits, otherwise float32.
        """
        return _softmax(logits, 1.0, self.temperature)

    def for_labels(self, labels: LabelGeometry) -> Callable[[Tensor], Tensor]:  # noqa: ARG002
        """`probabilities`; a temperature does not look at the labels."""
        return self.probabilities


class DistanceAwareCalibrator(_Calibrator):
    """DAC (Wang et al., ICML 2024), with a temperature after it: softmax(gamma_(argmax z) z / T) for logits z.

    gamma_i = exp(d_zs(i) - d_ft(i)), where d(i) is the mean L2 distance of label i's text feature to its K nearest base
    text features, in zero-shot (zs) and in tuned (ft) space. A label that tuning pushed away from the base labels gets a
    factor below 1, so a prediction of it becomes less sure. gamma is not clipped: it can also be above 1. It is 1 where the
    nearest tuned base feature is closer than `near`, so base labels keep the model's own confidence. As the authors' code.

    Attributes:
        nearest: K; at most the number of base labels are used.
        near: a label closer than this to a base label counts as one.
        temperature: T, applied after the distance factor.
    """

    needs_base: ClassVar[bool] = True

    kind: Literal["dac"] = "dac"
    nearest: int = Field(5, ge=1)
    near: float = Field(0.05, ge=0, allow_inf_nan=False)
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)

    def gamma(self, labels: LabelGeometry) -> Tensor:
        """The distance factor of each label.

        Args:
            labels: with at least one base label.

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
        k = min(self.nearest, tuned.shape[1])
        mean_tuned, mean_zero_shot = (d.topk(k, largest=False).values.mean(dim=-1) for d in (tuned, zero_shot))
        gamma = (mean_zero_shot - mean_tuned).exp()
        return torch.where(tuned.amin(dim=-1) < self.near, torch.ones_like(gamma), gamma)

    def for_labels(self, labels: LabelGeometry) -> Callable[[Tensor], Tensor]:
        """The calibrator for one label set; the distances are computed once.

        Args:
            labels: the label set that the logits will be over, in the same order.

        Returns:
            A function from logits (..., C) to probabilities (..., C), as `TemperatureCalibrator.probabilities`.

        Raises:
            InvalidInput: see `gamma`; of the function: the logits are over another number of labels.
        """
        gamma = self.gamma(labels)

        def probabilities(logits: Tensor) -> Tensor:
            if logits.shape[-1] != len(gamma):
                raise InvalidInput(f"logits over {logits.shape[-1]} labels, but the calibrator was made for {len(gamma)}")
            factor = gamma.to(logits.device)[logits.argmax(dim=-1, keepdim=True)]
            return _softmax(logits, factor, self.temperature)

        return probabilities


Calibrator: TypeAlias = Annotated[TemperatureCalibrator | DistanceAwareCalibrator, Field(discriminator="kind")]


def _distances(features: Tensor, base_features: Tensor) -> Tensor:
    """L2 distances (C, B) in float64, from differences: exact also where two features are almost the same."""
    return torch.cdist(features.double(), base_features.double(), compute_mode="donot_use_mm_for_euclid_dist")


def _softmax(logits: Tensor, factor: Tensor | float, temperature: float) -> Tensor:
    """softmax(factor * logits / temperature) in float64, whose largest entry is where the largest logit is.

    Rounding can make the two largest probabilities equal, and then the first of them would be the prediction. Where that
    would change it, the right one is raised by the smallest step there is.
    """
    z = logits.double()
    scaled = (z - z.amax(dim=-1, keepdim=True)) * factor / temperature
    p = scaled.softmax(dim=-1).to(logits.dtype if logits.dtype == torch.float64 else torch.float32)
    top = logits.argmax(dim=-1, keepdim=True)
    best, predicted = p.max(dim=-1, keepdim=True)
    raised = torch.where(predicted == top, p.gather(-1, top), best.nextafter(torch.ones_like(best)))
    return p.scatter(-1, top, raised)
