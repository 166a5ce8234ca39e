"""What is counted of one artifact's answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from candor.calibration.open_set import ScoreName
from candor.clip.artifact import SCOPES
from service.feedback.bins import BIN_NAMES, bin_of
from service.feedback.receipt import KNOWN
from service.metrics.families import AnswerFamilies

if TYPE_CHECKING:
    from service.classifier import Prediction
    from service.label_set import LabelSet


class Recorder:
    """The children of one artifact, found once: finding one costs twice what counting does. All are there at zero at once.

    Args:
        families: of the process.
        artifact: tag.
        method: the open-set score of its answers.
    """

    def __init__(self, families: AnswerFamilies, artifact: str, method: ScoreName) -> None:
        self.method = method
        self._predictions = {
            (scope, known): families.predictions.labels(artifact, scope, known) for scope in SCOPES for known in KNOWN
        }
        self._confidence = {scope: families.confidence.labels(artifact, scope) for scope in SCOPES}
        self._bins = {
            scope: tuple(families.confidence_bins.labels(artifact, scope, name) for name in BIN_NAMES) for scope in SCOPES
        }
        self._open_set_score = families.open_set_score.labels(artifact, method)
        self._text_deviation = families.text_deviation.labels(artifact)
        self._divergence = families.divergence.labels(artifact)

    def answered(self, label_set: LabelSet, predictions: Sequence[Prediction], monitored: bool) -> None:
        """Count one answered request.

        Args:
            label_set: of the request.
            predictions: one an image.
            monitored: whether the confidence is the artifact's calibrated probability among the labels; neither are scores
                of a multi-label answer, nor the frozen model's under a caller's own template.
        """
        if monitored:
            self._text_deviation.observe(label_set.text_deviation)
            if not math.isnan(label_set.divergence):  # one label has none, and NaN would stay in the sum for ever
                self._divergence.observe(label_set.divergence)
        for prediction in predictions:
            scope, answer = prediction.scope, prediction.open_set
            self._predictions[scope, prediction.known].inc()
            if monitored:
                self._confidence[scope].observe(prediction.confidence)
                self._bins[scope][bin_of(prediction.confidence)].inc()
                if answer is not None:
                    self._open_set_score.observe(answer.score)
