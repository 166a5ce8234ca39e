"""Which entries of a vocabulary a filter keeps."""

from __future__ import annotations

from typing import Any

import pytest

from candor.errors import InvalidInput
from vocab_index.sources.filters import VISUAL, Filter
from vocab_index.sources.wordnet import CATEGORIES
from vocab_index.sources.words import load_words

PLANTS = frozenset({"plant"})


@pytest.mark.parametrize(
    ("wanted", "metadata", "kept"),
    [
        (Filter(), {"category": "plant", "instance": True}, True),
        (Filter(PLANTS), {"category": "plant", "instance": True}, True),
        (Filter(PLANTS), {"category": " Plant "}, True),
        (Filter(PLANTS), {"category": "animal"}, False),
        (Filter(PLANTS, instances=False), {"category": "plant", "instance": True}, False),
        (Filter(PLANTS, instances=False), {"category": "plant", "instance": "True"}, False),
        (Filter(instances=False), {"category": "person", "instance": True}, False),
        (Filter(instances=False), {"category": "person", "instance": False}, True),
        (Filter(instances=False), {"category": "person", "instance": "false"}, True),
        (Filter(instances=False), {"category": "person"}, True),
        (Filter(PLANTS, instances=False), {}, True),
        (Filter(PLANTS, instances=False), {"category": "", "instance": True}, True),
        (Filter(PLANTS), {"category": 5}, True),
    ],
)
def test_what_a_filter_keeps(wanted: Filter, metadata: dict[str, Any], kept: bool) -> None:
    assert wanted.keeps("word", metadata) is kept


def test_the_visual_nouns_of_wordnet() -> None:
    """The count of faiss.md 8.3, without proper names."""
    assert set(CATEGORIES) > VISUAL
    words = load_words("wordnet", Filter(VISUAL, instances=False))
    assert len(words.words) == len(words.metadata) == 68_478
    assert words.dropped["filtered"] == 117_798 - 68_478
    assert not any(metadata["instance"] for metadata in words.metadata)


@pytest.mark.parametrize(
    ("wanted", "categories", "message"),
    [
        (Filter(frozenset({"plant", "plnt"})), {"animal", "drug"}, "unknown category 'plnt'; x has: animal, drug"),
        (Filter(PLANTS), set(), "has no categories to filter by"),
        (Filter(instances=False), set(), "has no categories to filter by"),
    ],
)
def test_a_filter_that_does_not_fit_is_refused(wanted: Filter, categories: set[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        wanted.check(categories, "x")


def test_a_filter_may_name_what_either_wordnet_or_the_vocabulary_has() -> None:
    assert Filter(frozenset({"plant", "drug"})).check({"drug"}, "x") is None
    assert Filter(limit=3).check(set(), "x") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"categories": frozenset()}, "valid: tops, act, animal"),
        ({"max_words": 0}, "at most 0 words"),
        ({"limit": 0}, "at most 0 entries make no vocabulary; valid: 1"),
    ],
)
def test_filters_that_keep_nothing(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Filter(**arguments)
