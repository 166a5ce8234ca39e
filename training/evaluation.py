"""What a classifier gets right and how sure it is, on base and on new classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candor.calibration import scores
from candor.calibration.bins import ReliabilityBins
from candor.calibration.divergence import feature_divergence, text_deviation
from candor.clip.artifact import Bins, Reference

HISTOGRAM_BINS = 20  # of the stored confidence histogram, as the service's metric


@dataclass(frozen=True)
class ScopeResult:
    """One scope of one classifier: a prediction an image.

    Attributes:
        confidence: probability of the predicted class, (N,) float64.
        correct: whether it was right, (N,) bool.
        fd: feature divergence of the scope's text features.
        text_deviation: mean text deviation of the scope's labels from zero-shot.
    """

    confidence: NDArray[np.float64]
    correct: NDArray[np.bool_]
    fd: float
    text_deviation: float

    @property
    def bins(self) -> ReliabilityBins:
        """Reliability bins (10)."""
        return ReliabilityBins.of(self.confidence, self.correct)

    def figures(self) -> dict[str, float]:
        """Accuracy, confidence, gap, ECE and its noise floor, FD and text deviation, as fractions."""
        bins = self.bins
        return {
            "accuracy": scores.accuracy(bins),
            "confidence": scores.mean_confidence(bins),
            "gap": scores.gap(bins),
            "ece": scores.ece(bins),
            "ece_noise_floor": scores.noise_floor(bins),
            "fd": self.fd,
            "text_deviation": self.text_deviation,
        }

    def reference(self) -> Reference:
        """What the artifact stores for drift to be measured against."""
        histogram = ReliabilityBins.of(self.confidence, self.correct, HISTOGRAM_BINS)
        return Reference(reliability=Bins(**self.bins.to_lists()), confidence_histogram=histogram.count.tolist())


@torch.inference_mode()
def evaluate(
    image_features: Tensor, labels: Tensor, text_features: Tensor, zero_shot_text_features: Tensor, logit_scale: float
) -> ScopeResult:
    """Classify the images of one scope among the classes of that scope.

    Args:
        image_features: (N, D) of L2 norm 1.
        labels: (N,), counted within the scope.
        text_features: (C, D) of L2 norm 1.
        zero_shot_text_features: (C, D) of L2 norm 1; FD and deviation compare with them.
        logit_scale: factor from cosine to logit.
    """
    logits = logit_scale * image_features.float() @ text_features.float().T
    confidence, predicted = logits.double().softmax(dim=-1).max(dim=-1)
    return ScopeResult(
        confidence.clamp(max=1.0).cpu().numpy(),
        (predicted == labels).cpu().numpy(),
        feature_divergence(text_features),
        float(text_deviation(text_features, zero_shot_text_features).mean()),
    )
