"""The index: words are found by their features, and a loaded index is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from vocab_index.index import Neighbour, VocabularyIndex
from vocab_index.sources.words import WordList, collect

ENTRIES = [
    f"{size} {thing}" for size in ("small", "big", "old", "new") for thing in ("cat", "dog", "anchor", "umbrella", "sun")
]


@pytest.fixture(scope="module")
def index(tiny_clip: Backbone) -> VocabularyIndex:
    return VocabularyIndex.build(tiny_clip, collect("things", ENTRIES), "a {}.")


@pytest.fixture
def saved(index: VocabularyIndex, tmp_path: Path) -> Path:
    index.save(tmp_path / "index")
    return tmp_path / "index"


def test_a_words_own_feature_finds_the_word(index: VocabularyIndex, tiny_clip: Backbone) -> None:
    features = tiny_clip.encode_text(["a old anchor.", "a new sun."])
    first, second = index.search(features, 3)
    assert (first[0].word, second[0].word) == ("old anchor", "new sun")
    assert first[0].similarity == pytest.approx(1, abs=1e-5)
    assert first[0].similarity >= first[1].similarity >= first[2].similarity


def test_a_loaded_index_answers_the_same(index: VocabularyIndex, saved: Path, tiny_clip: Backbone) -> None:
    features = tiny_clip.encode_text(["a thing."])
    loaded = VocabularyIndex.load(saved, tiny_clip)
    assert loaded.search(features, 4) == index.search(features, 4)
    assert (loaded.templates, loaded.source) == (("a {}.",), "things")


def test_metadata_comes_back_with_the_word(tiny_clip: Backbone, tmp_path: Path) -> None:
    rows = [{"category": "animal", "gloss": "a “pet”\u2028", "legs": 4}, {}, {"size": None, "parts": ["hull", {"n": 1.5}]}]
    built = VocabularyIndex.build(tiny_clip, WordList("x", ("cat", "sun", "boat"), {}, rows))
    built.save(tmp_path / "index")
    loaded = VocabularyIndex.load(tmp_path / "index")
    assert [loaded.metadata(row) for row in range(3)] == rows
    found = loaded.search(tiny_clip.encode_text(["a photo of a boat."]), 1)[0][0]
    assert found == Neighbour("boat", pytest.approx(1, abs=1e-5), 2, rows[2])


def test_no_metadata_means_no_file_and_empty_mappings(index: VocabularyIndex, saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["index.faiss", "manifest.json", "words.txt"]
    assert VocabularyIndex.load(saved).metadata(7) == index.metadata(7) == {}


@pytest.mark.parametrize("row", [{"x": float("nan")}, {"x": {1, 2}}])
def test_metadata_that_is_no_json_writes_nothing(tiny_clip: Backbone, tmp_path: Path, row: dict[str, object]) -> None:
    built = VocabularyIndex.build(tiny_clip, WordList("x", ("cat", "sun"), {}, [{}, row]))
    with pytest.raises(InvalidInput, match="metadata of row 1 is not JSON"):
        built.save(tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_a_word_of_two_lines_writes_nothing(tiny_clip: Backbone, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"'cat\\ndog' holds a line break"):
        VocabularyIndex.build(tiny_clip, WordList("x", ("cat\ndog",), {})).save(tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_the_digest_says_what_features_stand_for(tiny_clip: Backbone, glyph_clip: Backbone, index: VocabularyIndex) -> None:
    words = collect("another name", ENTRIES)
    assert VocabularyIndex.build(tiny_clip, words, "a {}.").digest == index.digest
    others = [
        VocabularyIndex.build(tiny_clip, collect("things", ENTRIES[::-1]), "a {}."),
        VocabularyIndex.build(tiny_clip, words, "the {}."),
        VocabularyIndex.build(glyph_clip, words, "a {}."),
    ]
    assert len({index.digest, *(other.digest for other in others)}) == 4
