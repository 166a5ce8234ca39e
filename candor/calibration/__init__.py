"""Calibration: mergeable reliability bins, the scores over them, feature divergence, and calibrators."""

from candor.calibration.bins import ReliabilityBins
from candor.calibration.calibrators import TemperatureCalibrator
from candor.calibration.divergence import feature_divergence, text_deviation
from candor.calibration.scores import accuracy, ece, gap, mean_confidence, noise_floor

__all__ = [
    "ReliabilityBins",
    "TemperatureCalibrator",
    "accuracy",
    "ece",
    "feature_divergence",
    "gap",
    "mean_confidence",
    "noise_floor",
    "text_deviation",
]
