"""The index is exact, and notices every change to its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from candor.clip.backbone import Backbone
from candor.errors import IntegrityError, InvalidInput
from vocab_index.faiss_store import VectorStore
from vocab_index.index import MANIFEST, VECTORS, WORDS, VocabularyIndex
from vocab_index.words import collect

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


def test_search_is_exact() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, 16)).astype(np.float32)
    queries = rng.standard_normal((7, 16)).astype(np.float32)
    similarity, ids = VectorStore.of(vectors).search(queries, 10)
    expected = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    np.testing.assert_array_equal(ids, np.argsort(-expected, axis=1)[:, :10])
    np.testing.assert_allclose(similarity, -np.sort(-expected, axis=1)[:, :10], rtol=1e-5)


def test_more_neighbours_than_words_gives_all_words() -> None:
    similarity, ids = VectorStore.of(np.eye(3, dtype=np.float32)).search(np.ones((1, 3), np.float32), 100)
    assert sorted(ids[0]) == [0, 1, 2]
    assert similarity.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    ("queries", "k"), [(np.ones((1, 4)), 1), (np.ones(3), 1), (np.ones((1, 3)), 0), (np.full((1, 3), np.nan), 1)]
)
def test_impossible_searches(queries: np.ndarray, k: int) -> None:
    with pytest.raises(InvalidInput):
        VectorStore.of(np.eye(3, dtype=np.float32)).search(queries.astype(np.float32), k)


def test_a_words_own_feature_finds_the_word(index: VocabularyIndex, tiny_clip: Backbone) -> None:
    features = tiny_clip.encode_text(["a old anchor.", "a new sun."])
    first, second = index.search(features, 3)
    assert (first[0].word, second[0].word) == ("old anchor", "new sun")
    assert first[0].similarity == pytest.approx(1, abs=1e-5)
    assert first[0].similarity >= first[1].similarity >= first[2].similarity


def test_outliers_are_those_of_the_pairwise_definition(index: VocabularyIndex, tiny_clip: Backbone) -> None:
    base = tiny_clip.encode_text(["a cat.", "a dog.", "a boat."])
    outliers = index.outliers(base, 6, ["cat", "dog"])
    free = [word for word in index.words if "cat" not in word and "dog" not in word]
    features = tiny_clip.encode_text([f"a {word}." for word in free]).double()
    pairwise = torch.stack([torch.stack([f @ c for c in base.double()]).mean() for f in features])
    best = pairwise.argsort(descending=True)[:6].tolist()
    assert set(outliers.words) == {free[i] for i in best}
    assert outliers.similarity == pytest.approx(pairwise[best].tolist(), abs=1e-6)
    torch.testing.assert_close(outliers.features, features[best].float(), atol=1e-5, rtol=1e-4)
    assert all("cat" in word or "dog" in word for word in outliers.dropped)


def test_no_outlier_left_is_an_error(index: VocabularyIndex, tiny_clip: Backbone) -> None:
    with pytest.raises(InvalidInput, match="no word"):
        index.outliers(tiny_clip.encode_text(["a cat."]), 5, ["cat", "dog", "anchor", "umbrella", "sun"])


def test_a_loaded_index_answers_the_same(index: VocabularyIndex, saved: Path, tiny_clip: Backbone) -> None:
    features = tiny_clip.encode_text(["a thing."])
    loaded = VocabularyIndex.load(saved, tiny_clip)
    assert loaded.search(features, 4) == index.search(features, 4)
    assert (loaded.templates, loaded.source) == (("a {}.",), "things")


@pytest.mark.parametrize("name", [VECTORS, WORDS])
def test_every_flipped_byte_is_noticed(saved: Path, name: str) -> None:
    good = (saved / name).read_bytes()
    for position in range(0, len(good), max(1, len(good) // 40)):
        (saved / name).write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(IntegrityError, match=f"{name}: expected sha256"):
            VocabularyIndex.load(saved)


@pytest.mark.parametrize("name", [MANIFEST, VECTORS, WORDS])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name}: expected a file, found nothing"):
        VocabularyIndex.load(saved)


def test_a_manifest_that_lies_is_refused(saved: Path) -> None:
    document = json.loads((saved / MANIFEST).read_text())
    (saved / MANIFEST).write_text(json.dumps(document | {"count": 3}))
    with pytest.raises(IntegrityError, match="expected 3 words, found 20 words"):
        VocabularyIndex.load(saved)
    (saved / MANIFEST).write_text("{")
    with pytest.raises(IntegrityError, match="an index manifest"):
        VocabularyIndex.load(saved)


def test_another_backbone_is_refused(saved: Path, glyph_clip: Backbone) -> None:
    with pytest.raises(IntegrityError, match="expected an index of glyph-clip with weights"):
        VocabularyIndex.load(saved, glyph_clip)
