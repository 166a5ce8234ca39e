"""A request ends with the artifact that it began with; what is not an image's fault is not put down to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from prometheus_client import CollectorRegistry
from torch import Tensor

from candor.clip.backbone import Backbone
from service import engine as engine_module
from service.api.requests import ParsedRequest, SentImage
from service.api.schemas import ClassifyRequest, LookupRequest
from service.artifacts.loader import serve_classifier
from service.classifier import Classifier
from service.engine import Engine
from service.errors import ApiError
from service.labels.store import LabelSetStore
from service.metrics import ServiceMetrics
from service.serving import Serving
from service.settings import Settings
from vocab_index.index import VocabularyIndex
from vocab_index.sources.words import collect

LABELS = ["cat", "dog", "anchor"]
SETTINGS = Settings()


def png(colour: str = "red") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, "PNG")
    return buffer.getvalue()


def request(*images: bytes, **options: Any) -> ParsedRequest[ClassifyRequest]:
    sent = [SentImage(f"images.{i}", data) for i, data in enumerate(images)]
    return ParsedRequest(sent, ClassifyRequest(**({"labels": LABELS} | options)))


def served(clip: Backbone, tag: str, template: str, index: VocabularyIndex | None = None) -> Serving:
    classifier = Classifier(clip, index=index, template=template)
    classifier.tag = tag
    return serve_classifier(classifier, SETTINGS)


def engine_with(serving: Serving, registry: CollectorRegistry) -> Engine:
    return Engine(SETTINGS, serving, ServiceMetrics(registry), LabelSetStore(None))


def test_a_switch_in_the_middle_of_a_request_is_not_seen_by_it(tiny_clip: Backbone, registry: CollectorRegistry) -> None:
    first, second = served(tiny_clip, "first", "a {}."), served(tiny_clip, "second", "nothing like {} at all")
    engine = engine_with(first, registry)

    async def scenario() -> tuple[Any, Any, Any]:
        alone = await engine.classify(request(png()))
        begun = asyncio.create_task(engine.classify(request(png())))
        await asyncio.sleep(0)  # it has taken its serving, and waits for its image
        engine.activate(second)
        return alone, await begun, await engine.classify(request(png()))

    alone, during, after = asyncio.run(scenario())
    assert (during["artifact"], after["artifact"]) == ("first", "second")
    assert scores(during) == pytest.approx(scores(alone), abs=1e-6)
    assert scores(after) != pytest.approx(scores(alone), abs=1e-4)
    counted = [
        registry.get_sample_value("candor_confidence_count", {"artifact": tag, "scope": "new"})
        for tag in ("first", "second")
    ]
    assert counted == [2, 1]
    assert registry.get_sample_value("candor_image_batch_size_sum") == 3


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {score["label"]: score["score"] for score in answer["results"][0]["scores"]}


def test_an_overloaded_model_refuses_the_request_and_not_its_images(
    tiny_clip: Backbone, registry: CollectorRegistry
) -> None:
    serving = served(tiny_clip, "t", "a {}.")
    engine = engine_with(serving, registry)

    async def full(*_: Any) -> Tensor:
        raise ApiError(503, "too many images wait", retry_after=1)

    for method in ("pixels", "image_features"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(serving.model, method, full)
            with pytest.raises(ApiError) as refused:
                asyncio.run(engine.classify(request(png(), png())))
        assert (refused.value.status, refused.value.field) == (503, None)


def test_what_can_be_refused_without_the_model_is(tiny_clip: Backbone, registry: CollectorRegistry) -> None:
    serving = served(tiny_clip, "t", "a {}.")
    engine = engine_with(serving, registry)

    async def never(*_: Any) -> Any:
        raise AssertionError("the model was asked")

    impossible: list[tuple[dict[str, Any], str]] = [
        ({"template": "no place"}, "template"),
        ({"templates": ["{}", "<end_of_text> {}"]}, "templates"),
        ({"thresholds": {"cow": 0.5}}, "thresholds"),
        ({"multi_label": True}, "multi_label"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        for method in ("pixels", "image_features", "run"):
            patch.setattr(serving.model, method, never)
        for options, field in impossible:
            with pytest.raises(ApiError) as refused:
                asyncio.run(engine.classify(request(png(), **options)))
            assert (refused.value.status, refused.value.field) == (422, field)


@pytest.mark.parametrize(("small", "name"), [(2**40, "MainThread"), (0, "score")])
def test_large_scoring_leaves_the_event_loop_alone(
    tiny_clip: Backbone, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, small: int, name: str
) -> None:
    index = VocabularyIndex.build(tiny_clip, collect("x", ["cat", "dog", "sun"]))
    serving = served(tiny_clip, "t", "a {}.", index)
    threads = []

    def watched(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            threads.append(threading.current_thread().name)
            return method(*arguments)

        return call

    for method in ("classify", "lookup"):
        monkeypatch.setattr(serving.classifier, method, watched(getattr(serving.classifier, method)))
    monkeypatch.setattr("service.scoring.SMALL", small)
    engine = engine_with(serving, registry)
    answer = asyncio.run(engine.classify(request(png(), png("blue"))))
    words = asyncio.run(engine.lookup(ParsedRequest([SentImage("image", png())], LookupRequest(k=2))))
    assert [len(result["scores"]) for result in answer["results"]] == [3, 3]
    assert [len(result["nearest"]) for result in words["results"]] == [2]
    assert {thread.partition("_")[0] for thread in threads} == {name}
    assert len(threads) == 2
    assert registry.get_sample_value("candor_stage_seconds_count", {"stage": "score"}) == 2
    assert engine_module.SCORING_THREADS > 1
