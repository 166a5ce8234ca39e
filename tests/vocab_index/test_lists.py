"""Inverted lists: division, the number looked into, and searches that their lists cannot fill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from candor.errors import IntegrityError
from vocab_index.store import faiss_store
from vocab_index.store.faiss_store import EXACT_ABOVE, VectorStore
from vocab_index.store.lists import (
    RECALL,
    fewest_probes,
    fit_centroids,
    likely_queries,
    list_count,
    nearest_list,
    recall_at_ten,
)


def clustered(count: int, seed: int, spread: float = 0.7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((60, 32))
    vectors = centres[rng.integers(0, 60, count)] + spread * rng.standard_normal((count, 32))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(20_000, seed=0)


@pytest.fixture(scope="module")
def store(vectors: np.ndarray) -> VectorStore:
    return VectorStore.of(vectors, "ivf")


def test_ten_neighbours_are_found_in_few_lists(store: VectorStore, vectors: np.ndarray, tmp_path: Path) -> None:
    queries = clustered(500, seed=1)
    true = np.argsort(-(queries.astype(np.float64) @ vectors.T.astype(np.float64)), axis=1)[:, :10]
    found = store.search(queries, 10)[1]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), true.tolist(), strict=True)])
    assert recall > 0.97  # tuned to .99 on harder queries
    assert store.recall is not None
    assert store.nprobe is not None
    assert RECALL <= store.recall <= 1
    assert 1 <= store.nprobe < list_count(20_000) / 2
    store.save(tmp_path / "store")
    loaded = VectorStore.load(tmp_path / "store")
    assert (loaded.nprobe, loaded.recall) == (store.nprobe, None)


def test_a_result_does_not_depend_on_the_other_queries(store: VectorStore) -> None:
    queries = clustered(100, seed=2)
    similarity, ids = store.search(queries, 10)
    for some in (slice(0, 1), slice(3, 5), slice(7, 90)):
        alone = store.search(queries[some], 10)
        assert np.array_equal(alone[0], similarity[some])
        assert np.array_equal(alone[1], ids[some])


@pytest.mark.parametrize("k", [400, EXACT_ABOVE])
def test_lists_that_hold_too_few_are_not_the_end(k: int) -> None:
    """One query's list is large and the other's has a handful: both get k, and nobody gets -1."""
    rng = np.random.default_rng(0)
    many = np.array([1.0, 0, 0, 0]) + 0.01 * rng.standard_normal((3000, 4))
    few = np.array([0, 1.0, 0, 0]) + 0.01 * rng.standard_normal((30, 4))
    vectors = np.concatenate([many, few]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store = VectorStore.of(vectors, "ivf")
    similarity, ids = store.search(vectors[[5, 3005]], k)
    assert all(len(set(row)) == k and min(row) >= 0 for row in ids.tolist())
    assert np.isfinite(similarity).all()
    assert set(range(3000, 3030)) == set(ids[1, :30].tolist())


def test_pools_of_thousands_are_exact(store: VectorStore) -> None:
    """Outliers are drawn from them, and are defined by comparing all words."""
    kept = store.vectors(np.arange(len(store)))
    query = clustered(1, seed=3)
    similarity, ids = store.search(query, EXACT_ABOVE + 1)
    expected = (query.astype(np.float64) @ kept.T.astype(np.float64))[0]
    np.testing.assert_allclose(similarity[0], np.sort(expected)[::-1][: EXACT_ABOVE + 1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(expected[ids[0]], similarity[0], rtol=0, atol=1e-6)


@given(st.integers(1, 50_000_000))
def test_lists_are_about_four_roots_and_never_starve(count: int) -> None:
    lists = list_count(count)
    assert 1 <= lists <= max(1, 4 * count**0.5 + 1)
    assert lists == 1 or count / lists >= 40


def test_centroids_sit_in_separate_clusters() -> None:
    vectors = np.eye(4, dtype=np.float32)[np.arange(400) % 4]
    centroids = fit_centroids(vectors, 4, seed=1)
    assert np.linalg.norm(centroids, axis=1) == pytest.approx(1)
    lists = nearest_list(torch.from_numpy(vectors), centroids)
    assert all(len(set(lists[start::4].tolist())) == 1 for start in range(4))
    assert np.array_equal(centroids, fit_centroids(vectors, 4, seed=1))


def test_a_vector_is_in_the_list_of_its_nearest_centroid() -> None:
    rng = np.random.default_rng(0)
    vectors, centroids = (rng.standard_normal((n, 5)).astype(np.float32) for n in (50, 7))
    by_hand = [max(range(7), key=lambda j: float(v.astype(np.float64) @ centroids[j].astype(np.float64))) for v in vectors]
    assert nearest_list(torch.from_numpy(vectors), centroids).tolist() == by_hand


@given(st.integers(1, 300), st.data())
def test_the_fewest_lists_that_find_enough(lists: int, data: st.DataObject) -> None:
    enough = data.draw(st.integers(1, lists))

    def recall_with(nprobe: int) -> float:
        assert 1 <= nprobe <= lists
        return 0.995 if nprobe >= enough else 0.5

    assert fewest_probes(recall_with, lists) == (enough, 0.995)


def test_recall_is_the_share_that_was_found() -> None:
    true = np.array([range(20, 30), range(40, 50)])
    found = np.array([[*range(25, 30), *range(60, 65)], [*range(49, 39, -1)]])
    assert recall_at_ten(found, true) == (5 + 10) / 20


def test_likely_queries_are_turned_away_from_vectors() -> None:
    vectors = np.random.default_rng(0).standard_normal((1000, 512)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = likely_queries(vectors)
    assert queries.shape == (256, 512)
    assert np.linalg.norm(queries, axis=1) == pytest.approx(1, abs=1e-5)
    nearest = (queries.astype(np.float64) @ vectors.T.astype(np.float64)).max(axis=1)
    assert np.mean(nearest) == pytest.approx(0.3, abs=0.02)
    assert np.array_equal(queries, likely_queries(vectors))
    assert likely_queries(vectors[:3]).shape == (3, 512)


def test_lists_are_tuned_for_queries_that_lie_elsewhere(store: VectorStore, vectors: np.ndarray) -> None:
    """Queries of another draw than those it was tuned on, with the same cosine to a vector."""
    away = np.random.default_rng(7).standard_normal((500, 32))
    queries = 0.3 * vectors[:500] + np.sqrt(1 - 0.3**2) * away / np.linalg.norm(away, axis=1, keepdims=True)
    true = np.argsort(-(queries @ vectors.T.astype(np.float64)), axis=1)[:, :10]
    assert recall_at_ten(store.search(queries.astype(np.float32), 10)[1], true) > 0.98


def test_lists_that_never_give_enough_are_an_error_and_no_endless_loop(
    store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a vector is NaN: no list looked into brings it."""

    def nothing(index: object, queries: np.ndarray, k: int, nprobe: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(queries), k), np.float32), np.full((len(queries), k), -1)

    monkeypatch.setattr(faiss_store, "_probe", nothing)
    with pytest.raises(IntegrityError, match="a vector is not finite"):
        store.search(clustered(2, seed=4), 5)
