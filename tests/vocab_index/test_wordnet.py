"""WordNet's nouns: the shipped table against the counts of reference faiss.md 8.3, and the parser that made it."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.errors import IntegrityError
from vocab_index.sources import wordnet
from vocab_index.sources.wordnet import Synset

DEBIAN = Path("/usr/share/wordnet")
FIRST_SENSES = {  # faiss.md 8.3, "lemmas (first sense)", in the order of the lexicographer files
    **{"tops": 50, "act": 6762, "animal": 13472, "artifact": 14170, "attribute": 3483, "body": 3205, "cognition": 3470},
    **{"communication": 6578, "event": 1167, "feeling": 578, "food": 2820, "group": 3362, "location": 4321, "motive": 63},
    **{"object": 1921, "person": 18013, "phenomenon": 828, "plant": 17531, "possession": 1302, "process": 927},
    **{"quantity": 1745, "relation": 557, "shape": 389, "state": 5066, "substance": 4464, "time": 1554},
}
MOST_VISUAL = {"animal", "artifact", "food", "plant"}
VISUAL_COUNTS = {
    47_759: MOST_VISUAL,
    56_282: MOST_VISUAL | {"body", "object", "substance"},
    68_478: MOST_VISUAL | {"body", "object", "substance", "person", "phenomenon", "event", "shape"},
}


@pytest.fixture(scope="module")
def entries() -> list[tuple[str, dict[str, object]]]:
    return [(noun, dict(metadata)) for noun, metadata in wordnet.entries()]


def test_the_shipped_nouns_are_wordnets() -> None:
    nouns = wordnet.nouns()
    assert len(nouns) == len(set(nouns)) == 117_798  # faiss.md 8.3: lemmas of WordNet 3.0
    assert sum(" " in noun for noun in nouns) == 60_292
    assert sum(any(map(str.isdigit, noun)) for noun in nouns) == 392
    assert sum(len(noun) <= 2 for noun in nouns) == 343
    assert sum(not noun[0].isalpha() for noun in nouns) == 141
    assert (sum("." in noun for noun in nouns), sum("/" in noun for noun in nouns)) == (390, 16)
    assert {"dog", "New York", "snow leopard", "'hood"} <= set(nouns)
    assert nouns[:3] + nouns[-3:] == ["'hood", "'s Gravenhage", ".22", "zymosis", "zymurgy", "Zyrian"]
    assert not any("_" in noun or noun.startswith("#") for noun in nouns)


def test_every_category_has_as_many_nouns_as_wordnet(entries: list[tuple[str, dict[str, object]]]) -> None:
    assert tuple(FIRST_SENSES) == wordnet.CATEGORIES
    assert Counter(metadata["category"] for _, metadata in entries) == FIRST_SENSES
    assert sum(metadata["instance"] is True for _, metadata in entries) == 13_908


@pytest.mark.parametrize(("count", "categories"), VISUAL_COUNTS.items())
def test_nouns_of_visual_categories(entries: list[tuple[str, dict[str, object]]], count: int, categories: set[str]) -> None:
    assert count == sum(metadata["category"] in categories and not metadata["instance"] for _, metadata in entries)


def test_what_is_known_of_a_noun(entries: list[tuple[str, dict[str, object]]]) -> None:
    known = dict(entries)
    assert [noun for noun, _ in entries] == wordnet.nouns()
    assert known["snow leopard"] == {
        "category": "animal",
        "gloss": "large feline of upland central Asia having long thick whitish fur",
        "hypernym": "big cat",
        "instance": False,
        "synset": "02128757",
    }
    assert known["ounce"]["synset"] != "02128757"  # the unit of weight is its most frequent sense
    assert (known["Einstein"]["instance"], known["Einstein"]["hypernym"]) == (True, "physicist")
    assert (known["entity"]["hypernym"], known["entity"]["category"]) == ("", "tops")
    assert '; "' not in "".join(str(metadata["gloss"]) for metadata in known.values())
    assert all(metadata["gloss"] for metadata in known.values())


def test_the_table_is_read_within_a_second() -> None:
    """About 0.35 s on one core; the bound is wide, since machines are shared."""
    start = time.process_time()
    assert len(wordnet.entries()) == 117_798
    assert time.process_time() - start < 3


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's wordnet-base is not installed")
def test_the_shipped_table_is_what_the_parser_reads() -> None:
    notice, table = wordnet.parse(DEBIAN)
    assert table == list(wordnet.synsets())
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in notice


def database(directory: Path, synsets: dict[str, str], index: dict[str, str]) -> None:
    """Write data.noun from category, words, pointers and gloss by offset, and index.noun from offsets by lemma."""
    notice = "  1 Copyright notice  \n"
    lines = [f"{offset} {rest}  \n" for offset, rest in synsets.items()]
    (directory / "data.noun").write_text(notice + "".join(lines))
    rows = [f"{lemma} n 1 2 @ ~ {len(offsets.split())} 1 {offsets}  \n" for lemma, offsets in index.items()]
    (directory / "index.noun").write_text(notice + "".join(rows))


def test_the_parser_on_a_tiny_database(tmp_path: Path) -> None:
    synsets = {
        "00000100": "03 n 01 entity 0 000 | that which is",
        "00000200": '05 n 02 dog 0 Domestic_Dog 0 002 ~ 00000300 n 0000 @ 00000100 n 0000 | a pet; it barks; "he barked"',
        "00000300": "15 n 01 New_York 0 003 @i 00000400 v 0000 @i 00000200 n 0000 #p 00000100 n 0000 | a city",
        "00000500": "27 n 0b a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 k 0 001 @ 00000200 n 0000 | eleven words",
    }
    index = {"dog": "00000200 00000300", "domestic_dog": "00000200", "k": "00000500", "new_york": "00000300"}
    database(tmp_path, synsets, index)
    notice, table = wordnet.parse(tmp_path)
    assert notice == "Copyright notice"
    assert table == [  # "entity" is no noun's most frequent sense here, so it has no line
        Synset("00000200", "animal", "entity", False, "a pet; it barks", ("dog", "Domestic Dog")),
        Synset("00000300", "location", "dog", True, "a city", ("New York",)),
        Synset("00000500", "substance", "dog", False, "eleven words", ("k",)),
    ]
    with pytest.raises(IntegrityError, match="wordnet-base"):
        wordnet.parse(tmp_path / "nowhere")


FIELD = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=8)


@given(FIELD, st.sampled_from(wordnet.CATEGORIES), FIELD | st.just(""), st.booleans(), FIELD, st.lists(FIELD, min_size=1))
def test_a_line_of_the_table_reads_back(
    offset: str, category: str, hypernym: str, instance: bool, gloss: str, nouns: list[str]
) -> None:
    synset = Synset(offset, category, hypernym, instance, gloss, tuple(nouns))
    assert Synset.read(synset.line) == synset


def test_the_licence_travels_with_the_table() -> None:
    licence = Path(wordnet.__file__).with_name("LICENSE.wordnet").read_text()
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in licence
    assert "WITHOUT FEE" in licence.upper()
