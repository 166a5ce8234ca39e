"""What an image may show beside the caller's labels. Knows nothing of HTTP or BentoML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from candor.calibration.open_set import OpenSetThreshold, ScoreName
from candor.clip.backbone import Backbone
from vocab_index.index import VocabularyIndex
from vocab_index.labels import label_features
from vocab_index.open_set import OpenSet, OpenSetLabels
from vocab_index.synonyms import NearLabel, PlacedLabels, SynonymFinder


@dataclass(frozen=True)
class OpenSetAnswer:
    """Whether one image shows any of the labels.

    Attributes:
        score: high means that it does, 0..1.
        known: whether the score reaches the artifact's threshold; None where it has none for this score.
        nearest: labels and vocabulary words, nearest first; empty without a vocabulary.
    """

    score: float
    known: bool | None
    nearest: tuple[NearLabel, ...]


@dataclass(frozen=True)
class OpenSetView:
    """One label set, seen from outside of it; made once and kept.

    Attributes:
        scores: the open-set score of images.
        threshold: from which score on an image is known; None where nobody knows.
        placed: the labels in the vocabulary; None without one.
    """

    scores: OpenSetLabels
    threshold: float | None
    placed: PlacedLabels | None

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds, at most: some are its label set's too. The negatives are kept elsewhere."""
        return self.scores.nbytes + (self.placed.nbytes if self.placed else 0)

    def answers(self, image_features: Tensor, nearest: int) -> list[OpenSetAnswer]:
        """Open-set answers about images.

        Args:
            image_features: (B, D) of L2 norm 1.
            nearest: labels and words an image.
        """
        scores = self.scores.score(image_features).tolist()
        near = self.placed.nearest(image_features, nearest) if self.placed else [[] for _ in scores]
        known = [None if self.threshold is None else score >= self.threshold for score in scores]
        return [OpenSetAnswer(s, k, tuple(n)) for s, k, n in zip(scores, known, near, strict=True)]


class OpenSetViews:
    """Makes the view of any label set.

    Args:
        backbone: frozen.
        index: vocabulary of that backbone; None leaves MCM and no nearest labels.
        thresholds: of the artifact.
    """

    def __init__(
        self, backbone: Backbone, index: VocabularyIndex | None = None, thresholds: Sequence[OpenSetThreshold] = ()
    ) -> None:
        self._backbone, self._index = backbone, index
        self._open_set = OpenSet(backbone.logit_scale, index)
        self._threshold = self._open_set.threshold(thresholds)
        self._finder = SynonymFinder(index) if index else None

    @property
    def method(self) -> ScoreName:
        """Which score it is."""
        return self._open_set.method

    def of(
        self,
        labels: Sequence[str],
        text_features: Tensor,
        zero_shot_features: Tensor,
        templates: tuple[str, ...],
        tuned: bool,
    ) -> OpenSetView:
        """The view of a label set.

        Args:
            labels: C labels.
            text_features: that images are compared with, (C, D).
            zero_shot_features: under the hand-written templates, (C, D).
            templates: those templates.
            tuned: whether the text features are those of the artifact's prompt, which its threshold was made for.

        Raises:
            InvalidInput: a label does not fit the text tower under the vocabulary's templates.
        """
        threshold = self._threshold.at(len(labels)) if self._threshold and tuned else None
        placed = None
        if self._finder and self._index:
            same = self._index.templates == templates
            features = zero_shot_features if same else label_features(self._backbone, self._index.templates, labels)
            placed = self._finder.place(labels, features)
        return OpenSetView(self._open_set.for_labels(text_features, zero_shot_features), threshold, placed)
