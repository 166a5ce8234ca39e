"""Post-hoc calibrators: from logits to probabilities."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


class TemperatureCalibrator(BaseModel):
    """softmax(logits / T), the same T for every label (Guo et al. 2017). T = 1 leaves the model's own confidence.

    Attributes:
        temperature: T.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["temperature"] = "temperature"
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities of scaled logits, (..., C) float32, rows summing to 1."""
        return (logits.float() / self.temperature).softmax(dim=-1)
