"""Label sets from what is kept: made once, bounded, cheap when hot, and equal to what the classifier makes alone."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import torch

from candor.clip import PromptArtifact
from candor.clip.artifact import BackboneRef, save_artifact
from candor.clip.backbone import Backbone
from candor.clip.learners import ContextLearner, LearnerConfig
from candor.errors import InvalidInput
from service.batching.model import Model
from service.batching.workers import Workers
from service.classifier import Classifier
from service.labels.cache import LabelCache
from service.settings import Settings
from vocab_index.index import VocabularyIndex
from vocab_index.sources.words import collect

MUCH = 2**24
LABELS = ("red umbrella", "Blue_Anchor", "snowman")


def cache_of(classifier: Classifier, most_bytes: int = MUCH) -> LabelCache:
    return LabelCache(classifier, Model(classifier, Settings(threads=1), Workers(1, 8)), most_bytes)


@pytest.fixture
def tuned(tmp_path: Path, tiny_clip: Backbone) -> PromptArtifact:
    learner = ContextLearner.create(LearnerConfig(n_ctx=4), tiny_clip, ())
    learner.ctx.data.mul_(30)
    return save_artifact(
        tmp_path / "artifact",
        learner,
        backbone=BackboneRef.of(tiny_clip),
        method="coop",
        regularizers={},
        base_classnames=("blue anchor", "green anchor"),
        template="a picture of a {}.",
        seed=1,
    )


@pytest.mark.parametrize("templates", [None, ("a {}.", "the {}!")])
def test_a_label_set_is_the_classifiers_own(
    tiny_clip: Backbone, tuned: PromptArtifact, templates: tuple[str, ...] | None
) -> None:
    for artifact in (None, tuned):
        classifier = Classifier(tiny_clip, artifact)
        found = asyncio.run(cache_of(classifier).label_set(LABELS, templates))
        alone = classifier.label_set(LABELS, templates)
        assert (found.labels, found.templates, found.scopes) == (alone.labels, alone.templates, alone.scopes)
        torch.testing.assert_close(found.text_features, alone.text_features, rtol=0, atol=1e-5)
        torch.testing.assert_close(found.zero_shot_features, alone.zero_shot_features, rtol=0, atol=1e-5)
        assert found.text_deviation == pytest.approx(alone.text_deviation, abs=1e-5)


def test_a_label_set_and_its_views_are_made_once(tiny_clip: Backbone) -> None:
    index = VocabularyIndex.build(tiny_clip, collect("x", ["cat", "dog", "sun", "moon"]))
    cache = cache_of(Classifier(tiny_clip, index=index))

    async def scenario() -> None:
        first, again = await asyncio.gather(cache.label_set(LABELS, None), cache.label_set(LABELS, None))
        assert again is first
        assert await cache.label_set(LABELS, None) is first
        other = await cache.label_set(LABELS, ("a {}",))
        assert other is not first
        for view in (cache.view, cache.multi_label):
            assert await view(first) is await view(first)
            assert await view(other) is not await view(first)

    asyncio.run(scenario())


def test_memory_is_bounded(tiny_clip: Backbone) -> None:
    size = Classifier(tiny_clip).label_set(["a", "b"]).nbytes + 2 * 50
    cache = cache_of(Classifier(tiny_clip), 4 * (2 * size))  # a quarter is for label sets: two of two labels

    async def scenario() -> None:
        first = await cache.label_set(("a", "b"), None)
        await cache.label_set(("a", "c"), None)
        assert await cache.label_set(("a", "b"), None) is first
        await cache.label_set(("a", "d"), None)  # the oldest is now a and c
        assert await cache.label_set(("a", "b"), None) is first
        await cache.label_set(("a", "e"), None)
        await cache.label_set(("a", "f"), None)
        assert await cache.label_set(("a", "b"), None) is not first

    asyncio.run(scenario())


def test_nothing_is_kept_without_memory_and_answers_are_the_same(tiny_clip: Backbone) -> None:
    cache = cache_of(Classifier(tiny_clip), 0)
    first, again = (asyncio.run(cache.label_set(LABELS, None)) for _ in range(2))
    assert again is not first
    assert torch.equal(again.text_features, first.text_features)


def test_hits_and_misses_of_labels_are_told(tiny_clip: Backbone) -> None:
    cache, told = cache_of(Classifier(tiny_clip)), []
    cache.watch(lambda hits, misses: told.append((hits, misses)))

    async def scenario() -> None:
        await cache.label_set(("cat", "dog"), None)
        await cache.label_set(("dog", "sun", "moon"), None)
        await cache.label_set(("dog", "sun", "moon"), None)  # the whole set is kept
        await cache.label_set(("sun", " SUN_ray "), None)

    asyncio.run(scenario())
    assert told == [(0, 2), (1, 2), (3, 0), (1, 1)]


def test_impossible_labels_and_templates(tiny_clip: Backbone) -> None:
    cache = cache_of(Classifier(tiny_clip))
    for labels, templates, match in (
        ((), None, "no label"),
        (("cat", " _ "), None, "number 2 is empty"),
        (("cat", "CAT"), None, "duplicate"),
        (("x " * 100,), None, "too long"),
        (("cat",), (), "0 templates"),
        (("cat",), ("a {}",) * 101, "101 templates"),
        (("cat",), ("no place",), "exactly once"),
    ):
        with pytest.raises(InvalidInput, match=match):
            asyncio.run(cache.label_set(labels, templates))


def test_without_a_vocabulary_there_is_no_multi_label(tiny_clip: Backbone) -> None:
    cache = cache_of(Classifier(tiny_clip))

    async def scenario() -> None:
        await cache.multi_label(await cache.label_set(LABELS, None))

    with pytest.raises(InvalidInput, match="vocabulary"):
        asyncio.run(scenario())


def test_a_hot_label_set_of_a_thousand_labels_costs_next_to_nothing(tiny_clip: Backbone) -> None:
    cache = cache_of(Classifier(tiny_clip), 2**28)

    def labels() -> tuple[str, ...]:
        return tuple(f"label number {i}" for i in range(1000))  # texts of their own, as each request brings them

    async def scenario() -> list[float]:
        await cache.label_set(labels(), None)
        took = []
        for _ in range(20):
            asked = labels()
            started = time.perf_counter()
            await cache.label_set(asked, None)
            took.append(time.perf_counter() - started)
        return took

    assert min(asyncio.run(scenario())) < 0.001  # 0.03 ms, measured
