"""What a classifier gets right and how sure it is, on base and on new classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candor import calibration
from candor.calibration import ReliabilityBins, feature_divergence, scores, text_deviation
from candor.calibration.bins import DEFAULT_BINS
from candor.clip.artifact import SCOPES, Bins, Reference, Scope
from candor.errors import InvalidInput

HISTOGRAM_BINS = 20  # of the stored confidence histogram, as the service's metric
MEAN, HARMONIC_MEAN = "mean", "harmonic_mean"
SIGNED = frozenset({"gap"})  # a harmonic mean of these says nothing

Probabilities = Callable[[Tensor], Tensor]
NAN = float("nan")


def softmax(logits: Tensor) -> Tensor:
    """Probabilities of logits (..., C) in float64: the confidence of a model without a calibrator."""
    return logits.double().softmax(dim=-1)


@dataclass(frozen=True)
class ScopeResult:
    """One scope of one classifier: a prediction an image.

    The figures that (confidence, correct) alone decide are computed when asked for, with any number of bins. The others
    need all probabilities or the image features, so `evaluate` computes them once, and they are kept as numbers.

    Attributes:
        confidence: probability of the predicted class, (N,) float64.
        correct: whether it was right, (N,) bool.
        fd: feature divergence of the scope's text features.
        text_deviation: mean text deviation of the scope's labels from zero-shot.
        piece: PIECE; NaN where there were no reference features.
        classwise_ece: class-wise ECE with 15 bins.
        brier: Brier score.
        nll: negative log-likelihood in nats.
        n_labels: number of labels that an image was classified among.
    """

    confidence: NDArray[np.float64]
    correct: NDArray[np.bool_]
    fd: float
    text_deviation: float
    piece: float = NAN
    classwise_ece: float = NAN
    brier: float = NAN
    nll: float = NAN
    n_labels: int = 0

    @property
    def bins(self) -> ReliabilityBins:
        """Reliability bins (10)."""
        return self.bins_of(DEFAULT_BINS)

    def bins_of(self, n_bins: int) -> ReliabilityBins:
        """Reliability bins, `n_bins` of equal width."""
        return ReliabilityBins.of(self.confidence, self.correct, n_bins)

    def figures(self, n_bins: int = DEFAULT_BINS) -> dict[str, float]:
        """Every figure by name, fractions where not said otherwise (docs/evaluation.md has each formula).

        Args:
            n_bins: M of ece, ece_noise_floor, ace, mce and mce_weighted. ece_15 (Guo et al.'s M), piece (10 x 10) and
                classwise_ece (15) have their own.

        Returns:
            accuracy, confidence, gap, ece, ece_15, ece_noise_floor, ace, mce, mce_weighted, piece, classwise_ece, brier
            (0..2), nll (nats), fd (Euclidean distance), text_deviation (1 - cosine). NaN where there is nothing to score.
        """
        bins = self.bins_of(n_bins)
        return {
            "accuracy": scores.accuracy(bins),
            "confidence": scores.mean_confidence(bins),
            "gap": scores.gap(bins),
            "ece": scores.ece(bins),
            "ece_15": scores.ece(self.bins_of(15)),
            "ece_noise_floor": scores.noise_floor(bins),
            "ace": calibration.adaptive_ece(self.confidence, self.correct, n_bins),
            "mce": scores.mce(bins),
            "mce_weighted": scores.mce_weighted(bins),
            "piece": self.piece,
            "classwise_ece": self.classwise_ece,
            "brier": self.brier,
            "nll": self.nll,
            "fd": self.fd,
            "text_deviation": self.text_deviation,
        }

    def reference(self) -> Reference:
        """What the artifact stores for drift to be measured against."""
        histogram = self.bins_of(HISTOGRAM_BINS)
        return Reference(reliability=Bins(**self.bins.to_lists()), confidence_histogram=histogram.count.tolist())


@torch.inference_mode()
def evaluate(
    image_features: Tensor,
    labels: Tensor,
    text_features: Tensor,
    zero_shot_text_features: Tensor,
    logit_scale: float,
    *,
    probabilities: Probabilities = softmax,
    reference_features: Tensor | None = None,
) -> ScopeResult:
    """Classify the images of one scope among the classes of that scope.

    Args:
        image_features: (N, D) of L2 norm 1.
        labels: (N,), counted within the scope.
        text_features: (C, D) of L2 norm 1.
        zero_shot_text_features: (C, D) of L2 norm 1; FD and deviation compare with them.
        logit_scale: factor from cosine to logit.
        probabilities: from logits (N, C) to probabilities (N, C): a calibrator's, or plain softmax.
        reference_features: (R, D) images of base classes that were neither trained nor tested on. PIECE takes the
            distance to the nearest of them; without them it is NaN.
    """
    logits = logit_scale * image_features.float() @ text_features.float().T
    p = probabilities(logits.double()).double().clamp(max=1.0)
    confidence, predicted = (t.cpu().numpy() for t in p.max(dim=-1))
    truth, shares = labels.cpu().numpy(), p.cpu().numpy()
    correct = predicted == truth
    return ScopeResult(
        confidence,
        correct,
        feature_divergence(text_features),
        float(text_deviation(text_features, zero_shot_text_features).mean()),
        _piece(confidence, correct, image_features, reference_features),
        calibration.classwise_ece(shares, truth),
        calibration.brier(shares, truth),
        calibration.nll(shares, truth),
        len(text_features),
    )


def _piece(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], image_features: Tensor, reference_features: Tensor | None
) -> float:
    if reference_features is None or not len(reference_features):
        return NAN
    images, reference = (t.double().cpu().numpy() for t in (image_features, reference_features))
    return calibration.piece(confidence, correct, calibration.proximity(images, reference))


def both_scopes(results: Mapping[Scope, ScopeResult], n_bins: int = DEFAULT_BINS) -> dict[str, dict[str, float]]:
    """The figures of each scope, and where there are both, their two means.

    Args:
        results: per scope; one may be missing.
        n_bins: of `ScopeResult.figures`.

    Returns:
        "base" and "new" as far as they are there; with both also "mean", (base + new) / 2, which the DOR paper calls HM,
        and "harmonic_mean", 2 / (1/base + 1/new).
    """
    figures: dict[str, dict[str, float]] = {s: results[s].figures(n_bins) for s in SCOPES if s in results}
    if len(figures) == len(SCOPES):
        base, new = (figures[scope] for scope in SCOPES)
        figures[MEAN] = {name: calibration.plain_mean(base[name], new[name]) for name in base}
        figures[HARMONIC_MEAN] = {
            name: NAN if name in SIGNED else calibration.harmonic_mean(base[name], new[name]) for name in base
        }
    return figures


def mean_and_std(runs: Mapping[tuple[str, int], Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """A method's figures over data sets and seeds, as the papers report them.

    First the plain mean over data sets within each seed, then mean and standard deviation (n - 1) over the seeds.

    Args:
        runs: (data set, seed) -> figures. Every seed must have the same data sets.

    Returns:
        figure -> {"mean", "std"}; std is NaN for a single seed, and a NaN in any run makes a NaN.

    Raises:
        InvalidInput: no run, or a seed lacks a data set that another one has.
    """
    if not runs:
        raise InvalidInput("no run to average")
    datasets, seeds = sorted({dataset for dataset, _ in runs}), sorted({seed for _, seed in runs})
    missing = [f"{dataset} seed {seed}" for seed in seeds for dataset in datasets if (dataset, seed) not in runs]
    if missing:
        raise InvalidInput(f"seeds have different data sets, their mean would compare unlike things; missing: {missing}")
    summary = {}
    for name in next(iter(runs.values())):
        by_seed = [float(np.mean([runs[dataset, seed][name] for dataset in datasets])) for seed in seeds]
        std = float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else NAN
        summary[name] = {"mean": float(np.mean(by_seed)), "std": std}
    return summary
