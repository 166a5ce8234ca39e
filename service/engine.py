"""The running service's state: what is being served, and what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from candor.errors import InvalidInput
from service.api.answers import lookup_result, result
from service.api.requests import ParsedRequest
from service.api.schemas import ClassifyRequest, ClassifyResponse, LookupRequest, LookupResponse
from service.artifacts.loader import load_serving
from service.errors import ApiError
from service.metrics import ServiceMetrics
from service.serving import Serving
from service.settings import Settings


class Engine:
    """Answers requests. For one event loop.

    Args:
        settings: of the service.
        serving: what answers first.
        metrics: what counts.
    """

    def __init__(self, settings: Settings, serving: Serving, metrics: ServiceMetrics) -> None:
        self._settings, self._serving, self.metrics = settings, serving, metrics

    @classmethod
    def load(cls, settings: Settings) -> Engine:
        """Load what the settings name.

        Raises:
            CandorError: the artifact, the index or the weights are missing, damaged or do not belong together.
        """
        serving = load_serving(settings, settings.artifact)
        return cls(settings, serving, ServiceMetrics(serving.tag, serving.classifier.open_set_method))

    async def classify(self, request: ParsedRequest[ClassifyRequest]) -> ClassifyResponse:
        """Decode, encode, classify, count.

        Raises:
            ApiError: an image cannot be decoded, or the labels or template are impossible.
        """
        serving, options = self._serving, request.options
        classifier = serving.classifier
        templates = None if options.template is None else (options.template,)
        pixels = await self._pixels(serving, request)
        with _blaming("template"):
            classifier.check_templates(templates)
        with _blaming("labels"):
            label_set = await serving.labels.label_set(tuple(options.labels), templates)
            view = await serving.labels.view(label_set) if options.open_set else None
        features = await serving.model.image_features(pixels)
        predictions = classifier.classify(features, label_set, view)
        self.metrics.answered(label_set, predictions)
        results = [result(p, label_set, options.top_k, classifier.open_set_method) for p in predictions]
        return ClassifyResponse(artifact=serving.tag, results=results)

    async def lookup(self, request: ParsedRequest[LookupRequest]) -> LookupResponse:
        """Decode, encode, look up in the vocabulary.

        Raises:
            ApiError: 404 where no vocabulary is served; or an image cannot be decoded.
        """
        serving = self._serving
        vocabulary = serving.classifier.vocabulary
        if vocabulary is None:
            raise ApiError(404, "no vocabulary index is served; start with one: candor serve --index DIR")
        features = await serving.model.image_features(await self._pixels(serving, request))
        found = await serving.model.run(serving.classifier.lookup, features, request.options.k)
        return LookupResponse(vocabulary=vocabulary.source, results=[lookup_result(words) for words in found])

    async def _pixels(self, serving: Serving, request: ParsedRequest[Any]) -> list[Tensor]:
        return list(await asyncio.gather(*(serving.model.pixels(data, field) for field, data in request.images)))


@contextmanager
def _blaming(field: str) -> Iterator[None]:
    """Turn bad input found in the block into a 422 about one field of the request."""
    try:
        yield
    except InvalidInput as error:
        raise ApiError(422, str(error), field) from error
