"""What overlaps a class name."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocab_index.sources import wordnet
from vocab_index.sources.overlap import OverlapFilter


@pytest.mark.parametrize(
    ("word", "overlaps"),
    [
        ("cat", True),
        ("Cats", True),
        ("wild cat", True),
        ("wild-cat", True),
        ("catfish", False),
        ("category", False),
        ("Red Umbrella", True),
        ("two red umbrellas", True),
        ("red beach umbrella", False),
        ("umbrella", False),
        ("cherries", True),
        ("glass", False),
        ("gla", False),
    ],
)
def test_overlap_is_a_run_of_whole_words(word: str, overlaps: bool) -> None:
    assert OverlapFilter(["cat", "red_umbrella", "cherry"]).overlaps(word) is overlaps


PLURALS = """bus buses; lens lenses; tomato tomatoes; hero heroes; wolf wolves; knife knives; leaf leaves; iris irises;
    cookie cookies; movie movies; zombie zombies; pie pies; glass glasses; box boxes; city cities; fish fishes; gas gases;
    church churches; brush brushes; quiz quizzes; shoe shoes; house houses; rose roses; glove gloves; wave waves; axe axes;
    cactus cactuses; menu menus; ski skis; cat cats; elf elves; scarf scarves; wife wives"""
UNLIKE = """glass glas; bus bu; us u; gas ga; chess ches; class clas; plane plan; planes plan; pines pins; canes cans;
    princess princes; brass bras; cafe caves; leaf leave; toes to; fish fist; catfish cat; needless needles"""


def pairs(text: str) -> list[tuple[str, ...]]:
    return [tuple(pair.split()) for pair in text.split(";")]


@pytest.mark.parametrize(("one", "many"), pairs(PLURALS))
def test_a_name_and_its_plural_overlap_both_ways(one: str, many: str) -> None:
    for name, word in ((one, many), (many, one), (one, one), (many, many)):
        assert OverlapFilter([name]).overlaps(word)
        assert OverlapFilter([f"red {name}"]).overlaps(f"big-red {word.upper()} club")


@pytest.mark.parametrize(("one", "other"), pairs(UNLIKE))
def test_words_that_only_look_like_plurals_do_not_overlap(one: str, other: str) -> None:
    assert not OverlapFilter([one]).overlaps(other)
    assert not OverlapFilter([other]).overlaps(one)


def test_every_word_of_wordnet_against_a_hundred_names_takes_seconds_at_most() -> None:
    """About 0.4 s on one core; the bound is wide, since machines are shared."""
    nouns = wordnet.nouns()
    names = nouns[:: len(nouns) // 100][:100]
    start = time.process_time()
    overlap = OverlapFilter(names)
    found = {noun for noun in nouns if overlap.overlaps(noun)}
    assert time.process_time() - start < 4
    assert set(names) <= found


@given(st.text("abs -_", max_size=12), st.text("abs -_", max_size=12), st.text("ab", min_size=1, max_size=5))
def test_a_name_within_a_phrase_is_always_found(before: str, after: str, name: str) -> None:
    assert OverlapFilter([name]).overlaps(f"{before} {name.upper()} {after}")
