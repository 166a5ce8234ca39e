"""Calibration: mergeable reliability bins, the scores over them, feature divergence, and calibrators."""

from candor.calibration.bins import ReliabilityBins
from candor.calibration.calibrators import Calibrator, DistanceAwareCalibrator, LabelGeometry, TemperatureCalibrator
from candor.calibration.divergence import feature_divergence, text_deviation
from candor.calibration.fitting import TEMPERATURE_RANGE, fit_temperature
from candor.calibration.means import harmonic_mean, plain_mean
from candor.calibration.proper import brier, classwise_ece, nll
from candor.calibration.quantiles import adaptive_ece, piece, proximity
from candor.calibration.scores import accuracy, ece, gap, mce, mce_weighted, mean_confidence, noise_floor

__all__ = [
    "TEMPERATURE_RANGE",
    "Calibrator",
    "DistanceAwareCalibrator",
    "LabelGeometry",
    "ReliabilityBins",
    "TemperatureCalibrator",
    "accuracy",
    "adaptive_ece",
    "brier",
    "classwise_ece",
    "ece",
    "feature_divergence",
    "fit_temperature",
    "gap",
    "harmonic_mean",
    "mce",
    "mce_weighted",
    "mean_confidence",
    "nll",
    "noise_floor",
    "piece",
    "plain_mean",
    "proximity",
    "text_deviation",
]
