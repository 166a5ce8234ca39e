"""DOR's pool against the pairwise definition in float64, and its draws against what the seed and the step decide."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.clip.artifact import BackboneRef
from candor.errors import InvalidInput
from vocab_index.index import VocabularyIndex
from vocab_index.outliers import OutlierPool, OutlierSampler
from vocab_index.store.faiss_store import VectorStore

WIDTH = 16


def index_of(vectors: np.ndarray, kind: str = "flat", names: dict[int, str] | None = None) -> VocabularyIndex:
    """A vocabulary of unit vectors; words are "word<row>" unless named."""
    words = [(names or {}).get(row, f"word{row}") for row in range(len(vectors))]
    ref = BackboneRef(model="none", pretrained="none", sha256="0" * 64)
    return VocabularyIndex(words, VectorStore.of(vectors, kind), ref, ("{}",), "made-up")


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.standard_normal(shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def pairwise(store: VectorStore, base: np.ndarray) -> np.ndarray:
    """s of every word that the store holds, as it is defined: cosines one by one, summed without rounding."""
    held = store.vectors(np.arange(len(store))).astype(np.float64).tolist()
    return np.array(
        [
            math.fsum(math.fsum(a * b for a, b in zip(word, label, strict=True)) for label in base.tolist()) / len(base)
            for word in held
        ]
    )


@pytest.mark.parametrize("kind", ["flat", "fp16", "ivf"])
@pytest.mark.parametrize(("rule", "sign"), [("near", 1), ("far", -1)])
def test_the_pool_is_that_of_the_pairwise_definition(kind: str, rule: str, sign: int) -> None:
    """With words that share a vector (they tie, and go by row) or nearly do (float32 could not tell them apart)."""
    rng = np.random.default_rng(1)
    vectors = unit(rng, 600, WIDTH)
    vectors[200:400] = vectors[rng.integers(0, 200, 200)]
    vectors[400:500] = vectors[:100] + rng.standard_normal((100, WIDTH)).astype(np.float32) * 1e-7
    base = unit(rng, 7, WIDTH)
    index = index_of(vectors, kind)
    exact = sign * pairwise(index.store, base)
    ranked = sorted(range(600), key=lambda row: (-exact[row].round(12), row))
    for k in (1, 3, 50, 299, 599, 600, 9999):
        pool = OutlierPool.select(rule, index, torch.from_numpy(base), k, ())
        assert pool.words == tuple(f"word{row}" for row in ranked[:k])
        assert pool.similarity == pytest.approx([sign * exact[row] for row in ranked[:k]], abs=1e-12)
        assert np.array_equal(pool.features.numpy(), index.store.vectors(np.array(ranked[:k])))
        assert pool.dropped == ()


@given(
    rows=st.integers(1, 60),
    labels=st.integers(1, 5),
    k=st.integers(1, 70),
    distinct=st.integers(1, 60),
    out=st.sets(st.integers(0, 59)),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_dropped_the_rest_is_the_definitions(
    rows: int, labels: int, k: int, distinct: int, out: set[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng, distinct, WIDTH)[rng.integers(0, distinct, rows)]
    base = unit(rng, labels, WIDTH)
    index = index_of(vectors, names={row: f"a cat {row}" for row in out})
    if out >= set(range(rows)):
        with pytest.raises(InvalidInput, match="'made-up' has no word that does not contain a class name"):
            OutlierPool.near(index, torch.from_numpy(base), k, ["Cats"])
        return
    exact = pairwise(index.store, base).round(12)
    ranked = sorted(range(rows), key=lambda row: (-exact[row], row))
    kept = [row for row in ranked if row not in out][:k]
    before_last = ranked[: ranked.index(kept[-1])] if len(kept) == k else ranked
    pool = OutlierPool.near(index, torch.from_numpy(base), k, ["Cats"])
    assert pool.words == tuple(index.words[row] for row in kept)
    assert pool.dropped == tuple(index.words[row] for row in before_last if row in out)


def test_a_random_pool_is_the_seeds_and_no_stores() -> None:
    rng = np.random.default_rng(2)
    vectors, base = unit(rng, 300, WIDTH), torch.from_numpy(unit(rng, 3, WIDTH))
    pools = [OutlierPool.random(index_of(vectors, kind), base, 20, ["word7"], 5) for kind in ("flat", "fp16", "ivf")]
    assert pools[0].words == pools[1].words == pools[2].words
    assert len(set(pools[0].words)) == 20
    assert OutlierPool.random(index_of(vectors), base, 20, ["word7"], 6).words != pools[0].words
    everything = OutlierPool.random(index_of(vectors), base, 999, ["word7"], 5)
    assert sorted(everything.words) == sorted(f"word{row}" for row in range(300) if row != 7)
    assert everything.dropped == ("word7",)
    exact = pairwise(index_of(vectors).store, base.numpy())
    assert pools[0].similarity == pytest.approx([exact[int(word[4:])] for word in pools[0].words], abs=1e-12)


def test_an_oracle_pool_is_the_new_classes_by_hand() -> None:
    base = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    features = torch.tensor([[0.6, 0.8], [-1.0, 0.0]])
    pool = OutlierPool.oracle(["a", "b"], features, base)
    assert (pool.words, pool.dropped) == (("a", "b"), ())
    assert pool.similarity == pytest.approx([0.7, -0.5], abs=1e-7)
    assert torch.equal(pool.features, features)


@pytest.mark.parametrize("rule", ["near", "far", "random"])
def test_impossible_pools(rule: str) -> None:
    rng = np.random.default_rng(3)
    index, base = index_of(unit(rng, 30, WIDTH)), torch.from_numpy(unit(rng, 3, WIDTH))
    with pytest.raises(InvalidInput, match="at least 1 outlier, got k = 0"):
        OutlierPool.select(rule, index, base, 0, ())
    for bad in (base[:0], base[0], base[:, :5]):
        with pytest.raises(InvalidInput, match=r"expected \(C, 16\), C at least 1"):
            OutlierPool.select(rule, index, bad, 5, ())
    with pytest.raises(InvalidInput, match="NaN or infinity"):
        OutlierPool.select(rule, index, base * math.inf, 5, ())
    with pytest.raises(InvalidInput, match="unknown selection 'oracle'; valid: near, far, random"):
        OutlierPool.select("oracle", index, base, 5, ())


def test_draws_are_what_they_were() -> None:
    """Published figures depend on them: these rows were drawn by the code that made the figures."""
    sampler = OutlierSampler(8, 3, seed=5)
    assert [sampler.draw(step).tolist() for step in (0, 1, 17)] == [[6, 4, 1], [3, 0, 2], [6, 1, 4]]
    chances = torch.linspace(-0.1, 0.9, 20)
    weighted = OutlierSampler(20, 4, seed=1, chances=chances)
    assert [weighted.draw(step).tolist() for step in (3, 4)] == [[14, 11, 4, 16], [10, 3, 17, 4]]


def draws(sampler: OutlierSampler, steps: int = 200) -> list[list[int]]:
    return [sorted(sampler.draw(step).tolist()) for step in range(steps)]


def test_draws_are_fixed_fresh_or_weighted() -> None:
    fresh = OutlierSampler(8, 3, seed=5)
    assert draws(fresh) == draws(OutlierSampler(8, 3, seed=5))
    assert draws(fresh) != draws(OutlierSampler(8, 3, seed=6))
    assert all(len(set(drawn)) == 3 for drawn in draws(fresh))
    assert draws(OutlierSampler(8, 3, seed=5, resample=False)) == [sorted(fresh.draw(0).tolist())] * 200
    assert draws(OutlierSampler(2, 100, seed=5), 3) == [[0, 1]] * 3
    weighted = OutlierSampler(8, 1, seed=5, chances=(0.9, *[0.1] * 7))
    assert sum(drawn == [0] for drawn in draws(weighted, 1000)) / 1000 == pytest.approx(0.9 / 1.6, abs=0.05)
    assert sum(drawn == [0] for drawn in draws(OutlierSampler(8, 1, 5), 1000)) / 1000 == pytest.approx(1 / 8, abs=0.04)


def test_an_outlier_of_negative_similarity_is_still_drawn_where_all_are() -> None:
    assert draws(OutlierSampler(3, 3, seed=0, chances=(-0.5, 0.0, 0.9)), 5) == [[0, 1, 2]] * 5


@given(taken=st.integers(0, 20), seed=st.integers(0, 2**40), resample=st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_sampler_goes_on_from_its_state(taken: int, seed: int, resample: bool) -> None:
    def sampler() -> OutlierSampler:
        return OutlierSampler(30, 4, seed, chances=torch.linspace(0.1, 1, 30), resample=resample)

    whole, first, second = sampler(), sampler(), sampler()
    drawn = [next(whole).tolist() for _ in range(taken + 5)]
    assert [next(first).tolist() for _ in range(taken)] == drawn[:taken]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert [next(second).tolist() for _ in range(5)] == drawn[taken:]
    assert drawn == [whole.draw(step).tolist() for step in range(taken + 5)]


@pytest.mark.parametrize(
    "state", [{}, {"seed": 1}, {"seed": 1, "step": -1}, {"seed": 1, "step": "2"}, {"seed": 1, "step": True}]
)
def test_a_state_that_is_none_is_refused(state: dict[str, int]) -> None:
    sampler = OutlierSampler(8, 3, seed=1)
    with pytest.raises(InvalidInput, match="its seed and a step from 0"):
        sampler.load_state_dict(state)
    assert sampler.state_dict() == {"seed": 1, "step": 0}


def test_impossible_samplers() -> None:
    with pytest.raises(InvalidInput, match="of a sampler with seed 2; this one has seed 1"):
        OutlierSampler(8, 3, seed=1).load_state_dict({"seed": 2, "step": 0})
    for count, batch in ((0, 1), (3, 0)):
        with pytest.raises(InvalidInput, match=f"got {count} outliers and batch {batch}"):
            OutlierSampler(count, batch, seed=0)
    for chances in (torch.ones(4), torch.tensor([1, math.nan, 1]), F.one_hot(torch.tensor(0), 3)[None]):
        with pytest.raises(InvalidInput, match="chances must be 3 finite numbers"):
            OutlierSampler(3, 1, seed=0, chances=chances)
