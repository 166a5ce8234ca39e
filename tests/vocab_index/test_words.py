"""Vocabularies: each word once, of any source."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.clip.templates import readable
from candor.errors import InvalidInput
from vocab_index.sources.filters import Filter
from vocab_index.sources.words import LONGEST_WORD, collect, load_words

NONE_DROPPED = {"blank": 0, "repeated": 0, "too long": 0, "filtered": 0, "over the limit": 0}


def test_a_text_file_loses_blanks_and_repetitions(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("Snow_Leopard\nsnow  leopard\n\n  \ncafé\ncat\u2028dog\n", encoding="utf-8")
    words = load_words(str(path))
    assert words.words == ("Snow Leopard", "café", "cat", "dog")
    assert words.dropped == NONE_DROPPED | {"blank": 2, "repeated": 1}
    assert (words.source, list(words.metadata)) == ("words.txt", [])


def test_words_of_any_length_but_no_longer_than_the_longest() -> None:
    words = collect("x", ["a" * LONGEST_WORD, "b" * (LONGEST_WORD + 1), f"  {'c' * LONGEST_WORD}\t"])
    assert words.words == ("a" * LONGEST_WORD, "c" * LONGEST_WORD)
    assert words.dropped == NONE_DROPPED | {"too long": 1}


def test_collect_keeps_the_first_spelling() -> None:
    assert collect("x", ["The_Hague", "the hague"]).words == ("The Hague",)
    decomposed = unicodedata.normalize("NFD", "Café")
    assert collect("x", [decomposed, "CAFÉ", "STRASSE", "straße"]).words == ("Café", "STRASSE")


@given(st.lists(st.text("aAß_ é\u0301e\n", max_size=4)))
def test_every_entry_is_kept_once_or_counted_once(entries: list[str]) -> None:
    seen: list[str] = []
    blank = 0
    for entry in entries:
        word = unicodedata.normalize("NFC", " ".join(entry.replace("_", " ").split()))
        blank += not word
        if word and word.casefold() not in [other.casefold() for other in seen]:
            seen.append(word)
    if not seen:
        with pytest.raises(InvalidInput, match="holds no word"):
            collect("x", entries)
        return
    found = collect("x", entries)
    assert found.words == tuple(seen) == tuple(readable(word) for word in seen)
    assert found.dropped == NONE_DROPPED | {"blank": blank, "repeated": len(entries) - blank - len(seen)}


def test_sources_are_merged_in_order_and_the_first_metadata_stays(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("label,price\nRed Mug,3\ncat,4\n")
    (tmp_path / "more.jsonl").write_text('{"label": "red_mug", "price": 5}\n{"label": "blue mug", "price": 6}\n')
    (tmp_path / "plain.txt").write_text("Cat\ndog\n")
    files = [str(tmp_path / name) for name in ("plain.txt", "shop.csv", "more.jsonl")]
    words = load_words([*files, "small"], known={"small": ["Blue Mug", "green mug"]})
    assert words.words == ("Cat", "dog", "Red Mug", "blue mug", "green mug")
    assert list(words.metadata) == [{}, {}, {"price": "3"}, {"price": 6}, {}]
    assert words.dropped == NONE_DROPPED | {"repeated": 3}
    assert words.source == "plain.txt + shop.csv + more.jsonl + small"


def test_wordnet_merged_with_a_file_keeps_both_metadata(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text("label,price\nDog,3\nsnow leopard plush,4\n")
    words = load_words([str(path), "wordnet"])
    assert len(words.words) == len(words.metadata) == 117_798 + 1
    assert words.words[:2] == ("Dog", "snow leopard plush")
    assert words.metadata[0] == {"price": "3"}
    assert words.metadata[words.words.index("cat")]["category"] == "animal"
    assert words.dropped == NONE_DROPPED | {"repeated": 1}


def test_a_filtered_word_leaves_room_for_another_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text("label,category\nmint,place\nMint,plant\nrose,plant\n")
    words = load_words(str(path), Filter(frozenset({"plant"})))
    assert words.words == ("Mint", "rose")
    assert words.dropped == NONE_DROPPED | {"filtered": 1}


def test_at_most_so_many_words_evenly_spread() -> None:
    letters = {"letters": "abcdefghij"}
    assert load_words("letters", Filter(limit=4), known=letters).words == ("a", "c", "f", "h")  # 0, 2.5, 5, 7.5
    assert load_words("letters", Filter(limit=4), known=letters).dropped == NONE_DROPPED | {"over the limit": 6}
    assert load_words("letters", Filter(limit=10), known=letters).words == tuple("abcdefghij")
    assert load_words("letters", Filter(limit=11), known=letters).dropped == NONE_DROPPED


@pytest.mark.parametrize(
    ("content", "message"), [(None, "No such file"), (b"\xff\xfe", "not UTF-8"), (b"\n \n", r"holds no word \(2 blank\)")]
)
def test_bad_vocabularies(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        load_words(str(path))


def test_no_source_is_no_vocabulary() -> None:
    with pytest.raises(InvalidInput, match="'wordnet'"):
        load_words([])


def test_phrases_of_more_words_are_filtered() -> None:
    known = {"x": ["cat", "snow_leopard", "New York City", "dog"]}
    assert load_words("x", Filter(max_words=1), known=known).words == ("cat", "dog")
    found = load_words("x", Filter(max_words=2), known=known)
    assert found.words == ("cat", "snow leopard", "dog")
    assert found.dropped == NONE_DROPPED | {"filtered": 1}
