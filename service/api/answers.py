"""What was found, as the body of a response: plain data, and its JSON. What it must look like is in `schemas`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response

from candor.calibration.open_set import ScoreName
from service.classifier import Prediction
from service.label_set import LabelSet
from service.open_set import OpenSetAnswer
from service.question import Question, Thresholds
from vocab_index.index import Neighbour

Answer = dict[str, Any]


def json_response(body: Any) -> Response:
    """A response with a body of plain data."""
    return Response(to_json(body), media_type="application/json")


def to_json(body: Any) -> bytes:
    """Plain data as JSON; what is no number becomes null."""
    try:
        return orjson.dumps(body)
    except TypeError:  # a vocabulary's metadata may hold integers beyond 64 bits, or half of a surrogate pair
        return json.dumps(body).encode()


def classify_results(
    predictions: Sequence[Prediction],
    label_set: LabelSet,
    question: Question,
    method: ScoreName,
    prediction_ids: Sequence[str | None],
) -> list[Answer]:
    """The answers for images, as `schemas.Result`.

    Args:
        predictions: one an image.
        label_set: that they were classified among.
        question: that was asked.
        method: which open-set score the answers hold.
        prediction_ids: of the predictions; None for those whose true label is not asked for.
    """
    about = {
        "size": len(label_set.labels),
        "text_deviation": label_set.text_deviation,
        "divergence": None if math.isnan(label_set.divergence) else label_set.divergence,
    }
    return [
        {"prediction_id": id_, **_result(prediction, label_set, question, method), "label_set": about}
        for id_, prediction in zip(prediction_ids, predictions, strict=True)
    ]


def hugging_face_results(
    predictions: Sequence[Prediction], label_set: LabelSet, question: Question, method: ScoreName
) -> list[list[Answer]]:
    """The answers for images, each a list of `schemas.HuggingFaceScore`; arguments as the first of `classify_results`."""
    del method
    return [
        [{"score": score, "label": label} for label, score in ranked(label_set.labels, p.probabilities, question.top_k)]
        for p in predictions
    ]


def ranked(labels: Sequence[str], scores: Sequence[float], most: int | None = None) -> Iterator[tuple[str, float]]:
    """Labels and their scores, highest first; equal ones in the labels' order.

    Args:
        labels: C labels.
        scores: of each.
        most: to keep; None keeps all.
    """
    values = np.asarray(scores)
    order = np.argsort(-values, kind="stable")[:most]
    return zip(map(labels.__getitem__, order.tolist()), values[order].tolist(), strict=True)


def lookup_result(neighbours: Sequence[Neighbour]) -> Answer:
    """The words near one image, as `schemas.LookupResult`."""
    words = [{"label": n.word, "similarity": n.similarity, "metadata": dict(n.metadata)} for n in neighbours]
    return {"nearest": words}


def _result(prediction: Prediction, label_set: LabelSet, question: Question, method: ScoreName) -> Answer:
    thresholds, best = question.thresholds, ranked(label_set.labels, prediction.probabilities, question.top_k)
    scores = [{"label": label, "score": score} for label, score in best]
    return {
        "label": prediction.label,
        "scope": prediction.scope,
        "confidence": prediction.confidence,
        "accepted": thresholds.accepted(prediction.label, prediction.confidence),
        "scores": _judged(scores, thresholds) if question.multi_label and thresholds else scores,
        "open_set": _open_set(prediction.open_set, method) if prediction.open_set else None,
    }


def _judged(scores: list[Answer], thresholds: Thresholds) -> list[Answer]:
    verdicts = [thresholds.accepted(score["label"], score["score"]) for score in scores]
    return [s if v is None else s | {"accepted": v} for s, v in zip(scores, verdicts, strict=True)]


def _open_set(answer: OpenSetAnswer, method: ScoreName) -> Answer:
    nearest = [
        {"label": n.label, "similarity": n.similarity, "source": n.source, "same_as": n.same_as} for n in answer.nearest
    ]
    return {"score": answer.score, "method": method, "known": answer.known, "nearest": nearest}
