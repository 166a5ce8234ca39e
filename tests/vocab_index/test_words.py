"""Vocabularies, WordNet's nouns, and what overlaps a class name."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.errors import IntegrityError, InvalidInput
from vocab_index import wordnet
from vocab_index.words import OverlapFilter, collect, load_words

DEBIAN = Path("/usr/share/wordnet")


def test_the_shipped_nouns_are_wordnets() -> None:
    nouns = wordnet.nouns()
    assert len(nouns) == 117_798  # faiss.md 8.3: lemmas of WordNet 3.0
    assert {"dog", "New York", "snow leopard", "'hood"} <= set(nouns)
    assert not any("_" in noun or noun.startswith("#") for noun in nouns)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's wordnet-base is not installed")
def test_the_shipped_list_is_what_the_parser_reads() -> None:
    notice, words = wordnet.parse(DEBIAN)
    assert words == wordnet.nouns()
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in notice


def test_the_parser_on_a_tiny_database(tmp_path: Path) -> None:
    notice = "  1 Copyright notice  \n"
    synsets = ["00000000 05 n 02 dog 0 domestic_dog 0 000 | an animal\n", "00000000 15 n 01 New_York 0 000 | a city\n"]
    offsets, data = [], notice
    for synset in synsets:
        offsets.append(len(data))
        data += synset
    (tmp_path / "data.noun").write_text(data)
    lines = [
        f"dog n 1 2 @ ~ 1 1 {offsets[0]:08d}  ",
        f"domestic_dog n 1 0 1 0 {offsets[0]:08d}  ",
        f"new_york n 1 0 1 0 {offsets[1]:08d}  ",
    ]
    (tmp_path / "index.noun").write_text(notice + "\n".join(lines) + "\n")
    assert wordnet.parse(tmp_path) == ("Copyright notice", ["dog", "domestic dog", "New York"])
    with pytest.raises(IntegrityError, match="wordnet-base"):
        wordnet.parse(tmp_path / "nowhere")


def test_the_licence_travels_with_the_list() -> None:
    licence = Path(wordnet.__file__).with_name("LICENSE.wordnet").read_text()
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in licence
    assert "WITHOUT FEE" in licence.upper()


def test_a_text_file_loses_blanks_and_repetitions(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("Snow_Leopard\nsnow  leopard\n\n  \ncafé\ncat\u2028dog\n", encoding="utf-8")
    words = load_words(str(path))
    assert words.words == ("Snow Leopard", "café", "cat", "dog")
    assert words.dropped == 3


@pytest.mark.parametrize(
    ("content", "message"), [(None, "No such file"), (b"\xff\xfe", "not UTF-8"), (b"\n \n", "holds no word")]
)
def test_bad_vocabularies(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        load_words(str(path))


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


def test_collect_keeps_the_first_spelling() -> None:
    assert collect("x", ["The_Hague", "the hague"]).words == ("The Hague",)
