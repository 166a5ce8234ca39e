"""The running service's state: one classifier, its metrics, and the threads that work for the event loop."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

import anyio
import torch
from anyio import to_thread
from PIL import Image

import glyph_world
from candor.calibration.open_set import ScoreName
from candor.clip.artifact import PromptArtifact, load_artifact
from candor.clip.backbone import Backbone, load_backbone
from candor.clip.templates import DEFAULT_TEMPLATE
from candor.errors import InvalidInput
from service.classifier import Classifier, LabelSet, Prediction
from service.errors import ApiError
from service.images import decode_image
from service.metrics import ServiceMetrics
from service.open_set import OpenSetAnswer
from service.requests import ParsedRequest
from service.schemas import (
    ClassifyRequest,
    ClassifyResponse,
    LabelSetInfo,
    LookupRequest,
    LookupResponse,
    LookupResult,
    Nearest,
    OpenSet,
    Result,
    Score,
    Word,
)
from service.settings import Settings
from vocab_index.index import VocabularyIndex

P = ParamSpec("P")
R = TypeVar("R")


class Engine:
    """Answers requests.

    Args:
        settings: of the service.
        classifier: what answers.
        metrics: what counts.
    """

    def __init__(self, settings: Settings, classifier: Classifier, metrics: ServiceMetrics) -> None:
        self._settings, self._classifier, self.metrics = settings, classifier, metrics
        self._decoders = anyio.CapacityLimiter(os.cpu_count() or 1)
        self._model = anyio.CapacityLimiter(1)  # torch uses all cores itself

    @classmethod
    def load(cls, settings: Settings) -> Engine:
        """Load what the settings name, and run it once so that the first caller does not wait.

        Raises:
            CandorError: the artifact, the index or the weights are missing, damaged or do not belong together.
        """
        glyph_world.register()
        artifact = load_artifact(settings.artifact) if settings.artifact else None
        backbone = _backbone(settings, artifact)
        index = VocabularyIndex.load(settings.index, backbone) if settings.index else None
        template = glyph_world.default_template(settings.model) or DEFAULT_TEMPLATE
        classifier = Classifier(backbone, artifact, index, settings.label_cache_bytes, template)
        size = backbone.model.visual.image_size
        height, width = size if isinstance(size, tuple) else (size, size)
        backbone.encode_image(torch.zeros(1, 3, height, width))
        classifier.open_set_view(classifier.label_set(["warm", "up"]))
        return cls(settings, classifier, ServiceMetrics(classifier.tag, classifier.open_set_method))

    async def classify(self, request: ParsedRequest[ClassifyRequest]) -> ClassifyResponse:
        """Decode, encode, classify, count.

        Raises:
            ApiError: an image cannot be decoded, or the labels or template are impossible.
        """
        options = request.options
        images = await self._decode(request)
        with _blaming("template"):
            self._classifier.check_template(options.template)
        with _blaming("labels"):
            label_set = await self._run(self._classifier.label_set, options.labels, options.template)
            view = await self._run(self._classifier.open_set_view, label_set) if options.open_set else None
        predictions = await self._run(self._classifier.classify, images, label_set, view)
        self.metrics.answered(label_set, predictions)
        results = [_result(p, label_set, options.top_k, self._classifier.open_set_method) for p in predictions]
        return ClassifyResponse(artifact=self._classifier.tag, results=results)

    async def lookup(self, request: ParsedRequest[LookupRequest]) -> LookupResponse:
        """Decode, encode, look up in the vocabulary.

        Raises:
            ApiError: 404 where no vocabulary is served; or an image cannot be decoded.
        """
        vocabulary = self._classifier.vocabulary
        if vocabulary is None:
            raise ApiError(404, "no vocabulary index is served; start with one: candor serve --index DIR")
        found = await self._run(self._classifier.lookup, await self._decode(request), request.options.k)
        results = [
            LookupResult(nearest=[Word(label=n.word, similarity=n.similarity, metadata=dict(n.metadata)) for n in words])
            for words in found
        ]
        return LookupResponse(vocabulary=vocabulary.source, results=results)

    async def _decode(self, request: ParsedRequest[Any]) -> list[Image.Image]:
        images = []
        for field, data in request.images:
            decode = partial(decode_image, data, self._settings.max_pixels, field)
            images.append(await to_thread.run_sync(decode, limiter=self._decoders))
        return images

    async def _run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Work of the model, on the one thread that it has."""
        return await to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._model)


@contextmanager
def _blaming(field: str) -> Iterator[None]:
    """Turn bad input found in the block into a 422 about one field of the request."""
    try:
        yield
    except InvalidInput as error:
        raise ApiError(422, str(error), field) from error


def _backbone(settings: Settings, artifact: PromptArtifact | None) -> Backbone:
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "fp32"
    if artifact is None:
        return load_backbone(settings.model, settings.pretrained, device, precision)
    return load_backbone(artifact.config.backbone.model, artifact.config.backbone.pretrained, device, precision)


def _result(prediction: Prediction, label_set: LabelSet, top_k: int | None, method: ScoreName) -> Result:
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


def _open_set(answer: OpenSetAnswer, method: ScoreName) -> OpenSet:
    nearest = [Nearest(label=n.label, similarity=n.similarity, source=n.source, same_as=n.same_as) for n in answer.nearest]
    return OpenSet(score=answer.score, method=method, known=answer.known, nearest=nearest)
