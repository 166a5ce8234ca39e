"""Calibration: mergeable reliability bins, the scores over them, feature divergence, and calibrators."""

from candor.calibration.bins import ReliabilityBins
from candor.calibration.calibrators import (
    Calibrator,
    DistanceAwareCalibrator,
    LabelGeometry,
    ScopedCalibrator,
    TemperatureCalibrator,
    calibrated,
    distance_factor,
)
from candor.calibration.divergence import feature_divergence, text_deviation
from candor.calibration.drift import ks, ks_floor, psi, psi_floor, wasserstein
from candor.calibration.fitting import TEMPERATURE_RANGE, fit_temperature
from candor.calibration.means import harmonic_mean, plain_mean
from candor.calibration.proper import brier, classwise_ece, nll
from candor.calibration.quantiles import adaptive_ece, piece, proximity
from candor.calibration.scores import (
    accuracy,
    debiased_l2,
    ece,
    gap,
    gap_floor,
    mce,
    mce_weighted,
    mean_confidence,
    noise_floor,
)

__all__ = [
    "TEMPERATURE_RANGE",
    "Calibrator",
    "DistanceAwareCalibrator",
    "LabelGeometry",
    "ReliabilityBins",
    "ScopedCalibrator",
    "TemperatureCalibrator",
    "accuracy",
    "adaptive_ece",
    "brier",
    "calibrated",
    "classwise_ece",
    "debiased_l2",
    "distance_factor",
    "ece",
    "feature_divergence",
    "fit_temperature",
    "gap",
    "gap_floor",
    "harmonic_mean",
    "ks",
    "ks_floor",
    "mce",
    "mce_weighted",
    "mean_confidence",
    "nll",
    "noise_floor",
    "piece",
    "plain_mean",
    "proximity",
    "psi",
    "psi_floor",
    "text_deviation",
    "wasserstein",
]
