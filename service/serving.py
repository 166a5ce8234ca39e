"""One artifact, ready to answer: what a request takes once and keeps to its end, whatever is activated meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from service.batching.model import Model
from service.classifier import Classifier
from service.labels.cache import LabelCache


@dataclass(frozen=True)
class Serving:
    """An artifact with all that answers need.

    Attributes:
        classifier: of the artifact.
        model: batches and threads.
        labels: text features that are kept.
    """

    classifier: Classifier
    model: Model
    labels: LabelCache

    @property
    def tag(self) -> str:
        """Of the artifact."""
        return self.classifier.tag
