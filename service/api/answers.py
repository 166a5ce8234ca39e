"""What the classifier found, as the body of a response."""

from __future__ import annotations

import math
from collections.abc import Sequence

from candor.calibration.open_set import ScoreName
from service.api.schemas import LabelSetInfo, LookupResult, Nearest, OpenSet, Result, Score, Word
from service.classifier import LabelSet, Prediction
from service.open_set import OpenSetAnswer
from vocab_index.index import Neighbour


def result(prediction: Prediction, label_set: LabelSet, top_k: int | None, method: ScoreName) -> Result:
    """The answer for one image.

    Args:
        prediction: of that image.
        label_set: that it was classified among.
        top_k: scores to keep; None keeps all.
        method: which open-set score it holds.
    """
    ranked = sorted(zip(label_set.labels, prediction.probabilities, strict=True), key=lambda pair: -pair[1])
    divergence = None if math.isnan(label_set.divergence) else label_set.divergence
    return Result(
        label=prediction.label,
        scope=prediction.scope,
        confidence=prediction.confidence,
        scores=[Score(label=label, score=score) for label, score in ranked[:top_k]],
        open_set=_open_set(prediction.open_set, method) if prediction.open_set else None,
        label_set=LabelSetInfo(size=len(label_set.labels), text_deviation=label_set.text_deviation, divergence=divergence),
    )


def lookup_result(neighbours: Sequence[Neighbour]) -> LookupResult:
    """The words near one image."""
    return LookupResult(
        nearest=[Word(label=n.word, similarity=n.similarity, metadata=dict(n.metadata)) for n in neighbours]
    )


def _open_set(answer: OpenSetAnswer, method: ScoreName) -> OpenSet:
    nearest = [Nearest(label=n.label, similarity=n.similarity, source=n.source, same_as=n.same_as) for n in answer.nearest]
    return OpenSet(score=answer.score, method=method, known=answer.known, nearest=nearest)
