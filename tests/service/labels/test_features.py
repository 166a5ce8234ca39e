"""Text features label by label: each encoded once, whoever asks at the same time, and as if it were encoded alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest
import torch

from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from service.batching.model import Model
from service.batching.workers import Workers
from service.classifier import Classifier
from service.label_set import LabelFeatures
from service.labels.features import ROW_BYTES, KeptFeatures, joined
from service.settings import Settings

MUCH = 2**20
NAMES = ("cat", "a rather long name of a dog", "sun", "crescent moon", "house", "key of a house", "pen")


class Counting(Classifier):
    """A classifier that notes what it encodes, and waits or fails where it is told to."""

    def __init__(self, clip: Backbone) -> None:
        super().__init__(clip)
        self.encoded: list[tuple[str, ...]] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.error: Exception | None = None

    def encode_labels(self, names: tuple[str, ...], templates: tuple[str, ...] | None = None) -> LabelFeatures:
        self.encoded.append(names)
        assert self.may_go.wait(10)
        if self.error is not None:
            raise self.error
        return super().encode_labels(names, templates)


@pytest.fixture
def classifier(tiny_clip: Backbone) -> Counting:
    return Counting(tiny_clip)


@pytest.fixture
def kept(classifier: Counting) -> KeptFeatures:
    model = Model(classifier, Settings(threads=1), Workers(1, 8))
    model.text_chunk = 3
    return KeptFeatures(classifier, model, MUCH)


def run(*work: Coroutine[Any, Any, list[LabelFeatures]]) -> list[LabelFeatures]:
    """Results of pieces of work that begin in this order in one event loop."""

    async def all_of_it() -> list[LabelFeatures]:
        return [joined(rows) for rows in await asyncio.gather(*work)]

    return asyncio.run(all_of_it())


@pytest.mark.parametrize("templates", [None, ("a {}.", "the {}!", "{}")])
def test_in_chunks_and_one_by_one_are_the_same(
    tiny_clip: Backbone, classifier: Counting, kept: KeptFeatures, templates: tuple[str, ...] | None
) -> None:
    (found,) = run(kept.get(NAMES, templates))
    alone = torch.cat([Classifier(tiny_clip).encode_labels((name,), templates).text for name in NAMES])
    torch.testing.assert_close(found.text, alone, rtol=0, atol=1e-5)
    size = 3 if templates is None else 1  # prompts count, not labels
    assert classifier.encoded == [NAMES[start : start + size] for start in range(0, len(NAMES), size)]


def test_only_what_is_not_there_is_encoded(classifier: Counting, kept: KeptFeatures) -> None:
    told: list[tuple[int, int]] = []
    kept.watch = lambda hits, misses: told.append((hits, misses))
    run(kept.get(("cat", "dog"), None))
    run(kept.get(("dog", "sun", "cat", "moon"), None))
    run(kept.get(("dog",), ("a {}",)))  # another prompt
    run(kept.get(("dog", "sun"), ("a {}",)))
    assert classifier.encoded == [("cat", "dog"), ("sun", "moon"), ("dog",), ("sun",)]
    assert told == [(0, 2), (2, 2), (0, 1), (1, 1)]


def test_what_another_request_is_encoding_is_not_encoded_again(classifier: Counting, kept: KeptFeatures) -> None:
    first, second, third = run(
        kept.get(("cat", "dog", "sun", "moon"), None),
        kept.get(("moon", "pen", "cat"), None),
        kept.get(("pen", "dog"), None),
    )
    assert sorted(name for names in classifier.encoded for name in names) == ["cat", "dog", "moon", "pen", "sun"]
    assert torch.equal(second.text[[2, 0]], first.text[[0, 3]])
    assert torch.equal(third.text[1], first.text[1])


def test_an_error_reaches_all_who_wait_for_it_and_is_not_kept(classifier: Counting, kept: KeptFeatures) -> None:
    async def failing() -> list[Any]:
        classifier.error = MemoryError("too much")
        asking = [kept.get(("cat", "dog"), None), kept.get(("dog",), None)]
        return await asyncio.gather(*asking, return_exceptions=True)

    assert [type(error) for error in asyncio.run(failing())] == [MemoryError, MemoryError]
    assert len(classifier.encoded) == 1
    classifier.error = None
    (found,) = run(kept.get(("dog",), None))
    torch.testing.assert_close(found.text, classifier.encode_labels(("dog",)).text, atol=1e-6, rtol=0)


def test_a_name_that_cannot_be_encoded_fails_its_own_request_only(classifier: Counting, kept: KeptFeatures) -> None:
    async def both() -> tuple[Any, Any]:
        return await asyncio.gather(
            kept.get(("cat", "x " * 100, "y " * 90), None), kept.get(("cat",), None), return_exceptions=True
        )

    bad, good = asyncio.run(both())
    assert isinstance(bad, InvalidInput)
    assert "a x x x" in str(bad)
    assert "a y y y" in str(bad)
    assert len(good) == 1
    assert classifier.encoded == [("cat",)]


def test_who_leaves_takes_nobody_along_and_what_nobody_waits_for_is_not_made(
    classifier: Counting, kept: KeptFeatures
) -> None:
    async def scenario() -> None:
        classifier.may_go.clear()
        first = asyncio.create_task(kept.get(NAMES, None))
        second = asyncio.create_task(kept.get((NAMES[0], NAMES[6]), None))
        while not classifier.encoded:
            await asyncio.sleep(0.001)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        classifier.may_go.set()
        assert len(await second) == 2
        assert classifier.encoded == [NAMES[:3], NAMES[6:]]  # nobody waits for the chunk in the middle
        await kept.get(NAMES[3:5], None)
        assert classifier.encoded[2:] == [NAMES[3:5]]

    asyncio.run(scenario())


def test_images_get_their_turn_between_chunks(classifier: Counting, kept: KeptFeatures) -> None:
    order: list[str] = []

    async def scenario() -> None:
        classifier.may_go.clear()
        labels = asyncio.create_task(kept.get(NAMES, None))
        while not classifier.encoded:
            await asyncio.sleep(0.001)
        other = asyncio.create_task(kept._model.run(lambda: order.append(f"image after {len(classifier.encoded)} chunks")))
        await asyncio.sleep(0)
        classifier.may_go.set()
        await asyncio.gather(labels, other)

    asyncio.run(scenario())
    assert order == ["image after 1 chunks"]


def test_memory_is_bounded_and_the_oldest_go(tiny_clip: Backbone, classifier: Counting) -> None:
    row = tiny_clip.embed_dim * 4 + ROW_BYTES + 100
    model = Model(classifier, Settings(threads=1), Workers(1, 8))
    kept = KeptFeatures(classifier, model, 2 * row)
    for names in (("cat", "dog"), ("cat",), ("sun",), ("cat",)):  # the dog goes
        run(kept.get(names, None))
    assert classifier.encoded == [("cat", "dog"), ("sun",)]
    run(kept.get(("dog",), None))
    assert classifier.encoded[2:] == [("dog",)]
    (found,) = run(kept.get(NAMES, None))  # more than is kept is answered all the same
    assert len(found.text) == len(NAMES)
