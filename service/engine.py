"""The running service's state: what is being served, and what is counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from torch import Tensor

from candor.calibration.open_set import ScoreName
from candor.errors import InvalidInput
from service.api.amounts import check_texts
from service.api.answers import classify_results, hugging_face_results, lookup_result
from service.api.requests import ParsedRequest, SentImage
from service.api.schemas import ClassifyRequest, LookupRequest
from service.artifacts.loader import load_first
from service.classifier import Classifier, Prediction
from service.errors import CODES, ApiError, envelope
from service.feedback.issue import prediction_ids
from service.feedback.service import FeedbackService, open_feedback
from service.label_set import LabelSet
from service.labels.in_time import in_time
from service.labels.store import LabelSetStore
from service.metrics import ServiceMetrics
from service.metrics.exposition import Collector
from service.question import Question, question_of
from service.reference import References
from service.refusals import refusals
from service.scoring import Scorer, is_small
from service.serving import Serving
from service.settings import Settings

Answer = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")
Shape = Callable[[Sequence[Prediction], LabelSet, Question, ScoreName], list[R]]

SCORING_THREADS = 2  # for what is too much for the event loop; torch spreads large products over the cores itself


@dataclass(frozen=True)
class _Encoded:
    """Images of a request.

    Attributes:
        errors: of each image; None for those that have features.
        features: (B, D) of those, in their order; None where there are none.
    """

    errors: tuple[ApiError | None, ...]
    features: Tensor | None

    @property
    def count(self) -> int:
        """B."""
        return 0 if self.features is None else len(self.features)

    def placed(self, answers: Iterable[Answer]) -> list[Answer]:
        """An answer an image in the place of each, and the envelopes of errors in the other places."""
        following = iter(answers)
        return [next(following) if e is None else dict(envelope(e.status, e.message, e.field)) for e in self.errors]


class Engine:
    """Answers requests. For one event loop.

    Args:
        settings: of the service.
        serving: what answers first.
        metrics: what counts.
        label_sets: that callers keep by name; None keeps them in memory.
        feedback: takes true labels; None takes none.
    """

    def __init__(
        self,
        settings: Settings,
        serving: Serving,
        metrics: ServiceMetrics,
        label_sets: LabelSetStore | None = None,
        feedback: FeedbackService | None = None,
    ) -> None:
        self._settings, self.metrics = settings, metrics
        self.label_sets = label_sets or LabelSetStore(None, settings.max_label_sets)
        self._threads = ThreadPoolExecutor(SCORING_THREADS, "score")
        self.feedback = feedback
        if feedback:
            feedback.refused = metrics.feedback_refused
        self.references = References()
        self.switching = asyncio.Lock()  # held by who is about to activate another artifact
        self.activate(serving)

    @classmethod
    def load(cls, settings: Settings) -> Engine:
        """Load what the settings name.

        Raises:
            CandorError: the artifact, the index or the weights are missing, damaged or do not belong together, or the
                feedback store cannot be used.
        """
        feedback = open_feedback(settings)
        label_sets = LabelSetStore(settings.state / "label_sets", settings.max_label_sets)
        return cls(settings, load_first(settings), ServiceMetrics(), label_sets, feedback)

    @property
    def serving(self) -> Serving:
        """What answers now. A request takes it once, and keeps it to its end."""
        return self._serving

    def activate(self, serving: Serving) -> None:
        """Answer with another artifact from the next request on; requests that have begun end with theirs.

        Args:
            serving: loaded and warm.
        """
        self.metrics.prepare(serving.tag, serving.classifier.open_set_method)
        if self.feedback:
            self.feedback.collector.prepare(serving.tag)
        self.references.add(serving.tag, serving.classifier.config)
        serving.model.watch(self.metrics)
        serving.labels.watch(self.metrics.label_cache)
        self._serving = serving

    @property
    def collectors(self) -> list[Collector]:
        """What Prometheus reads beside what this process counts: the same in every process of this server."""
        return [self.references, *([self.feedback.collector] if self.feedback else [])]

    async def classify(self, request: ParsedRequest[ClassifyRequest]) -> Answer:
        """Decode, encode, classify, count.

        Returns:
            `schemas.ClassifyResponse` as plain data.

        Raises:
            ApiError: the only image cannot be decoded, or the labels or options are impossible.
        """
        serving, question = self.serving, question_of(request.options, self.label_sets)
        receipts = self.feedback.receipts if self.feedback and question.monitored else None

        def shape(found: Sequence[Prediction], label_set: LabelSet, asked: Question, method: ScoreName) -> list[Answer]:
            ids = prediction_ids(receipts, serving.tag, label_set, found)
            return classify_results(found, label_set, asked, method, ids)

        answering = self._answered(serving, request.images, question, shape, evidence=receipts is not None)
        encoded, results = await answering
        return {"artifact": serving.tag, "results": encoded.placed(results)}

    async def hugging_face(self, image: SentImage, question: Question) -> Answer:
        """As `classify`, of one image, whose result is its scores, highest first, as `schemas.HuggingFaceScore`.

        Raises:
            ApiError: as `classify`.
        """
        serving = self.serving
        _, results = await self._answered(serving, [image], question, hugging_face_results)
        return {"artifact": serving.tag, "results": results}

    async def lookup(self, request: ParsedRequest[LookupRequest]) -> Answer:
        """Decode, encode, look up in the vocabulary.

        Returns:
            `schemas.LookupResponse` as plain data.

        Raises:
            ApiError: 404 where no vocabulary is served; or the only image cannot be decoded.
        """
        serving, classifier = self.serving, self.serving.classifier
        if classifier.vocabulary is None:
            raise ApiError(404, "no vocabulary index is served; start with one: candor serve --index DIR")
        encoded = await self._encoded(serving, request.images)
        results: list[Answer] = []
        if encoded.features is not None:
            small = is_small(encoded.features, encoded.count, len(classifier.vocabulary))
            with self.metrics.timed("score"):
                words = await self._work(small, classifier.lookup, encoded.features, request.options.k)
            results = [lookup_result(found) for found in words]
        return {"artifact": serving.tag, "vocabulary": classifier.vocabulary.source, "results": encoded.placed(results)}

    async def _answered(
        self, serving: Serving, images: Sequence[SentImage], question: Question, shape: Shape[R], evidence: bool = False
    ) -> tuple[_Encoded, list[R]]:
        """Work on labels and images at the same time; a result an image that has features, and count them."""
        fields = question.labels_field, question.templates_field
        check_texts(question.labels, question.templates, self._settings, fields)
        _check(serving.classifier, question)
        if len(images) == 1 and isinstance(images[0].data, ApiError):
            raise images[0].data
        labels = asyncio.create_task(self._scorer(serving, question, evidence))
        pictures = asyncio.create_task(self._encoded(serving, images))
        try:
            scorer, encoded = await asyncio.gather(labels, pictures)
        finally:
            for task in (labels, pictures):  # where one is refused, nobody waits for the other
                task.cancel()
        if encoded.features is None:
            return encoded, []

        def work(features: Tensor) -> tuple[list[Prediction], float, list[R], float]:
            started = time.perf_counter()
            predictions = scorer.predictions(features)
            scored = time.perf_counter()
            results = shape(predictions, scorer.label_set, question, serving.classifier.open_set_method)
            return predictions, scored - started, results, time.perf_counter() - scored

        if scorer.needs_model:
            predictions, scoring, results, shaping = await serving.model.run(work, encoded.features)
        else:
            small = scorer.is_small(encoded.count)
            predictions, scoring, results, shaping = await self._work(small, work, encoded.features)
        self.metrics.stage("score", scoring)
        self.metrics.stage("answer", shaping)
        self.metrics.answered(serving, scorer.label_set, predictions, question.monitored)
        return encoded, results

    async def _scorer(self, serving: Serving, question: Question, evidence: bool) -> Scorer:
        """Labels made ready, from what is kept or anew; 503 where that takes too long."""
        with self.metrics.timed("labels"), _blaming(question.labels_field):
            async with in_time(serving.model.deadline()):
                label_set = await serving.labels.label_set(question.labels, question.templates)
                view = await serving.labels.view(label_set) if question.open_set else None
                multi = await serving.labels.multi_label(label_set) if question.multi_label else None
        return Scorer(serving.classifier, label_set, view, multi, evidence)

    async def _encoded(self, serving: Serving, images: Sequence[SentImage]) -> _Encoded:
        """Features of images. The error of an only image is raised; of several, each has its own."""
        deadline = serving.model.deadline()
        found = await asyncio.gather(*(_pixels(serving, image, deadline) for image in images))
        errors = tuple(each if isinstance(each, ApiError) else None for each in found)
        if len(found) == 1 and errors[0] is not None:
            raise errors[0]
        for error in errors:
            if error is not None:
                refusals.count(CODES[error.status])
        pixels = [each for each in found if not isinstance(each, ApiError)]
        return _Encoded(errors, await serving.model.image_features(pixels, deadline) if pixels else None)

    async def _work(self, here: bool, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Work of the processor: here where it is small, otherwise in a thread that is not the model's."""
        if here:
            return work(*args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args, **kwargs))


async def _pixels(serving: Serving, image: SentImage, deadline: float) -> Tensor | ApiError:
    """An image as the model takes it, or what is wrong with it."""
    if isinstance(image.data, ApiError):
        return image.data
    try:
        return await serving.model.pixels(image.data, image.field, deadline)
    except ApiError as error:
        if error.status >= 500:  # no fault of the image
            raise
        return error


def _check(classifier: Classifier, question: Question) -> None:
    """Refuse what can be refused without the model."""
    if question.multi_label and classifier.vocabulary is None:
        raise ApiError(422, "multi_label scores labels against a vocabulary, and none is served", "multi_label")
    with _blaming(question.templates_field):
        classifier.check_templates(question.templates)


@contextmanager
def _blaming(field: str) -> Iterator[None]:
    """Turn bad input found in the block into a 422 about one field of the request."""
    try:
        yield
    except InvalidInput as error:
        raise ApiError(422, str(error), field) from error
