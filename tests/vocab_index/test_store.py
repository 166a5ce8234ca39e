"""A store finds what comparing all vectors in float64 finds, however it keeps them."""

from __future__ import annotations

import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.errors import IntegrityError, InvalidInput
from vocab_index.store import exact, faiss_store
from vocab_index.store.faiss_store import EXACT_ABOVE, VectorStore
from vocab_index.store.kinds import FLAT_NUMBERS, FP16_NUMBERS, Kind, choose_kind

KINDS: tuple[Kind, ...] = ("flat", "fp16", "ivf")
PRECISION = {"flat": 1e-6, "fp16": 1e-3, "ivf": 1e-3}


def clustered(count: int, dimension: int = 32, seed: int = 0) -> np.ndarray:
    """Unit vectors around a few centres, as words lie around topics."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((60, dimension))
    vectors = centres[rng.integers(0, 60, count)] + 0.7 * rng.standard_normal((count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def products(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return queries.astype(np.float64) @ vectors.T.astype(np.float64)


VECTORS = clustered(5000)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, VectorStore]:
    """Each kind in memory, and each mapped from its file."""
    folder = tmp_path_factory.mktemp("stores")
    built = {str(kind): VectorStore.of(VECTORS, kind) for kind in KINDS}
    for kind, store in built.items():
        store.save(folder / kind)
    return built | {f"mapped {kind}": VectorStore.load(folder / kind) for kind in KINDS}


every_store = pytest.mark.parametrize("name", [*KINDS, *(f"mapped {kind}" for kind in KINDS)])


@every_store
def test_vectors_come_back(stores: dict[str, VectorStore], name: str) -> None:
    store = stores[name]
    assert (len(store), store.dimension, store.kind) == (*VECTORS.shape, name.split()[-1])
    np.testing.assert_allclose(
        store.vectors(np.array([4999, 0, 0, 17])), VECTORS[[4999, 0, 0, 17]], rtol=0, atol=PRECISION[store.kind]
    )
    for rows in (1000, 4096, 9999):
        ids, vectors = zip(*store.blocks(rows), strict=True)
        assert max(map(len, ids)) == min(rows, 5000)
        assert np.array_equal(np.concatenate(ids), np.arange(5000))
        np.testing.assert_allclose(np.concatenate(vectors), VECTORS, rtol=0, atol=PRECISION[store.kind])


@every_store
def test_blocks_are_fit_for_numpy_and_cannot_be_written_to(stores: dict[str, VectorStore], name: str) -> None:
    for _, block in stores[name].blocks():
        assert block.flags.aligned
        assert block.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            block[0, 0] = 1


@every_store
@pytest.mark.parametrize("count", [1, 2, 7, 33, 300])
def test_inner_products_are_those_of_float64(stores: dict[str, VectorStore], name: str, count: int) -> None:
    queries = clustered(count, seed=1)
    found = stores[name].inner_products(queries)
    np.testing.assert_allclose(found, products(queries, VECTORS), rtol=0, atol=PRECISION[name.split()[-1]])


@pytest.mark.parametrize("name", ["flat", "fp16", "mapped flat", "mapped fp16"])
@pytest.mark.parametrize("count", [1, 2, 7, 33, 300])
@pytest.mark.parametrize("k", [1, 10, 4999, 5000, 6000])
@pytest.mark.parametrize("whole", [0, 2**22])
def test_search_compares_all(
    stores: dict[str, VectorStore], name: str, count: int, k: int, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "WHOLE", whole)  # 0: block by block
    monkeypatch.setattr(exact, "QUERIES_AT_ONCE", 100)
    monkeypatch.setattr(faiss_store, "FLAT_BLOCK", 900)
    monkeypatch.setattr(exact, "PRODUCTS_AT_ONCE", 100 * 5000)  # so that 300 queries take three steps
    monkeypatch.setattr(exact, "CONVERTED_AT_ONCE", 700 * 32)  # and half-precision vectors eight
    store, queries = stores[name], clustered(count, seed=1)
    kept = store.vectors(np.arange(5000))  # exact over what is kept, be it half precision
    similarity, ids = store.search(queries, k)
    expected = products(queries, kept)
    best = -np.sort(-expected, axis=1)[:, :k]
    np.testing.assert_allclose(similarity, best, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(expected, ids, axis=1), best, rtol=0, atol=1e-6)
    assert all(len(set(row)) == min(k, 5000) for row in ids.tolist())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equal_similarities_come_by_id(data: st.DataObject) -> None:
    """Small whole numbers: every kind of arithmetic is exact on them, and most of them are equal."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count, dimension, queries = (data.draw(st.integers(1, most)) for most in (90, 5, 6))
    vectors = rng.integers(-1, 2, (count, dimension)).astype(np.float32)
    asked = rng.integers(-2, 3, (queries, dimension)).astype(np.float32)
    k = data.draw(st.integers(1, count + 3))
    order = np.argsort(-products(asked, vectors), axis=1, kind="stable")[:, :k]
    for kind in ("flat", "fp16"):
        similarity, ids = VectorStore.of(vectors, kind).search(asked, k)
        assert np.array_equal(ids, order)
        assert np.array_equal(similarity, np.take_along_axis(products(asked, vectors), order, axis=1))
    similarity, ids = VectorStore.of(vectors, "ivf").search(asked, k)  # so few vectors are in one or two lists
    assert all(len(set(row)) == min(k, count) and min(row) >= 0 for row in ids.tolist())
    assert np.array_equal(similarity, np.take_along_axis(products(asked, vectors), ids, axis=1))
    assert all(row == sorted(row) for row in (list(zip(-s, i, strict=True)) for s, i in zip(similarity, ids, strict=True)))


@pytest.mark.parametrize("kind", ["flat", "fp16"])
@pytest.mark.parametrize("queries", [1, 3, 9])
@pytest.mark.parametrize("whole", [0, 2**22])
def test_equal_similarities_at_the_cut_of_a_long_list(
    kind: Kind, queries: int, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long enough that the largest are sought in groups; three quarters of the vectors are the same one."""
    monkeypatch.setattr(exact, "WHOLE", whole)
    monkeypatch.setattr(faiss_store, "FLAT_BLOCK", 700)
    rng = np.random.default_rng(0)
    vectors = rng.integers(-1, 2, (3001, 6)).astype(np.float32)
    vectors[rng.permutation(3001)[:2200]] = 1
    asked = rng.integers(0, 3, (queries, 6)).astype(np.float32)
    for k in (1, 5, 10, 900, 2900):
        similarity, ids = VectorStore.of(vectors, kind).search(asked, k)
        order = np.argsort(-products(asked, vectors), axis=1, kind="stable")[:, :k]
        assert np.array_equal(ids, order)
        assert np.array_equal(similarity, np.take_along_axis(products(asked, vectors), order, axis=1))


def test_a_search_for_nothing_finds_nothing(stores: dict[str, VectorStore]) -> None:
    for store in stores.values():
        similarity, ids = store.search(np.empty((0, 32), np.float32), 3)
        assert (similarity.shape, ids.shape) == ((0, 3), (0, 3))


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (np.ones((1, 4)), 1, r"shape \(1, 4\); the index holds vectors of 3"),
        (np.ones(3), 1, r"shape \(3,\)"),
        (np.ones((1, 3)), 0, "at least 1, got 0"),
        (np.full((1, 3), np.nan), 1, "NaN"),
        (np.full((1, 3), -np.inf), 1, "infinity"),
        (np.full((1, 3), 3e38), 1, "3e\\+38; numbers go up to 65504"),
    ],
)
def test_impossible_searches(queries: np.ndarray, k: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        VectorStore.of(np.eye(3, dtype=np.float32)).search(queries.astype(np.float32), k)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones(3), r"shape \(3,\)"),
        (np.ones((0, 3)), r"shape \(0, 3\)"),
        (np.full((9, 2), np.nan), "NaN"),
        ([[1e5]], "100000"),
    ],
)
def test_impossible_vectors(vectors: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        VectorStore.of(np.asarray(vectors, np.float32))


def test_kinds_by_size() -> None:
    assert choose_kind(117_798, 512) == ("flat", "117,798 vectors of 512: comparing all of them takes milliseconds")
    assert [choose_kind(count, 512)[0] for count in (10, 300_000, 400_000, 900_000, 1_000_000)] == [
        *("flat", "flat", "fp16", "fp16", "ivf")
    ]
    edges = (FLAT_NUMBERS, FLAT_NUMBERS + 1, FP16_NUMBERS, FP16_NUMBERS + 1)
    assert [choose_kind(numbers, 1)[0] for numbers in edges] == ["flat", "fp16", "fp16", "ivf"]
    store = VectorStore.of(np.eye(3, dtype=np.float32))
    assert (store.kind, store.reason) == ("flat", "3 vectors of 3: comparing all of them takes milliseconds")
    asked = VectorStore.of(np.eye(3, dtype=np.float32), "fp16")
    assert asked.reason == "3 vectors of 3: fp16 was asked for, where flat would be chosen"
    with pytest.raises(InvalidInput, match="unknown kind of index 'hnsw'; valid: auto, flat, fp16, ivf"):
        VectorStore.of(np.eye(3, dtype=np.float32), "hnsw")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_equal_vectors_give_equal_files(tmp_path: Path, kind: Kind, stores: dict[str, VectorStore]) -> None:
    stores[kind].save(tmp_path / "one")
    np.save(tmp_path / "vectors.npy", VECTORS)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    VectorStore.of(mapped, kind).save(tmp_path / "two")
    stores[f"mapped {kind}"].save(tmp_path / "three")
    first = (tmp_path / "one").read_bytes()
    assert first == (tmp_path / "two").read_bytes() == (tmp_path / "three").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_half_the_bytes(tmp_path: Path, kind: Kind, stores: dict[str, VectorStore]) -> None:
    stores[kind].save(tmp_path / "store")
    numbers, extra = VECTORS.size, {"flat": 100, "fp16": 200, "ivf": 200_000}[kind]
    assert 0 <= (tmp_path / "store").stat().st_size - numbers * (4 if kind == "flat" else 2) < extra


def test_files_that_are_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "store"
    other = faiss.IndexFlatL2(3)
    other.add(np.eye(3, dtype=np.float32))
    faiss.write_index(other, str(path))
    with pytest.raises(
        IntegrityError, match="expected an index of kind flat, fp16 or ivf, found an index of type IndexFlat"
    ):
        VectorStore.load(path)
    faiss.write_index(faiss.IndexFlatIP(3), str(path))
    with pytest.raises(IntegrityError, match="with 0 vectors"):
        VectorStore.load(path)
    VectorStore.of(np.eye(3, dtype=np.float32)).save(path)
    for content in (b"", b"no index", path.read_bytes()[:-1]):
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match="expected an index of kind"):
            VectorStore.load(path)


def test_vectors_of_a_store_that_is_gone(tmp_path: Path) -> None:
    VectorStore.of(VECTORS).save(tmp_path / "store")
    _, vectors = next(VectorStore.load(tmp_path / "store").tensors(5000))
    gc.collect()
    assert np.array_equal(vectors.numpy(), VECTORS)


@every_store
def test_threads_searching_at_once_get_the_answers_of_one(stores: dict[str, VectorStore], name: str) -> None:
    store, queries, threads = stores[name], clustered(64, seed=2), torch.get_num_threads()
    sizes = [1, 2, 7, 40] * 16
    alone = [store.search(queries[:size], 1 + size) for size in sizes]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda size: store.search(queries[:size], 1 + size), sizes))
        counts = set(pool.map(lambda _: torch.get_num_threads(), range(8)))
    for (similarity, ids), (expected, expected_ids) in zip(together, alone, strict=True):
        assert np.array_equal(ids, expected_ids)
        assert np.array_equal(similarity, expected)
    assert {torch.get_num_threads()} | counts == {threads}


@pytest.mark.parametrize("first", ["torch", "faiss"])
def test_torch_keeps_its_threads_whichever_is_imported_first(first: str) -> None:
    code = f"""
import {first}, torch, numpy as np
torch.set_num_threads(3)
from vocab_index.store.faiss_store import VectorStore
vectors = np.random.default_rng(0).standard_normal((400, 8), dtype=np.float32)
for kind in ("flat", "fp16", "ivf"):
    store = VectorStore.of(vectors, kind)
    store.search(vectors[:1], 2), store.search(vectors[:50], 2), store.vectors(np.arange(9))
    assert torch.get_num_threads() == 3, torch.get_num_threads()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


class LimitedGpu:
    """Stands in for faiss-gpu: it answers like the index, and like faiss-gpu refuses k over 2048."""

    def __init__(self, index: faiss.Index) -> None:
        self.index, self.asked = index, []

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if k > 2048:
            raise RuntimeError("Error: 'k <= 2048' failed")
        self.asked.append(k)
        return self.index.search(queries, k)


@pytest.mark.parametrize(
    ("kind", "on_gpu"), [("flat", [1, 2048]), ("fp16", []), ("ivf", [1, EXACT_ABOVE])]
)  # fp16 has no GPU form in FAISS
def test_the_gpu_searches_what_it_can(kind: Kind, on_gpu: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[LimitedGpu] = []

    def index_cpu_to_gpu(resources: object, device: int, index: faiss.Index) -> LimitedGpu:
        moved.append(LimitedGpu(index))
        return moved[-1]

    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", index_cpu_to_gpu, raising=False)
    store, queries = VectorStore.of(VECTORS, kind), clustered(3, seed=3)
    expected = products(queries, store.vectors(np.arange(5000)))
    for k in (1, EXACT_ABOVE, 2048, 2049, 6000):
        similarity, ids = store.search(queries, k)
        np.testing.assert_allclose(np.take_along_axis(expected, ids, axis=1), similarity, rtol=0, atol=1e-6)
        assert all(len(set(row)) == min(k, 5000) for row in ids.tolist())
        if kind != "ivf" or k > EXACT_ABOVE:
            np.testing.assert_allclose(similarity, -np.sort(-expected, axis=1)[:, :k], rtol=0, atol=1e-6)
    asked = [k for gpu in moved for k in gpu.asked]
    assert [k for k in asked if k in (1, EXACT_ABOVE, 2048)] == ([1, EXACT_ABOVE, 2048] if kind == "flat" else on_gpu)


def test_an_index_is_not_moved_to_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """faiss-gpu on a machine without one: index_cpu_to_gpu would raise."""
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", None, raising=False)
    assert VectorStore.of(VECTORS).search(VECTORS[:1], 1)[1].tolist() == [[0]]


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_the_gpu_agrees_with_the_cpu(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = clustered(40, seed=4)
    on_gpu = VectorStore.of(VECTORS, kind)
    monkeypatch.setattr(faiss_store, "_gpus", lambda: 0)
    on_cpu = VectorStore.of(VECTORS, kind)
    for k in (1, 10, 3000):
        similarity, ids = on_gpu.search(queries, k)
        assert (ids >= 0).all()
        np.testing.assert_allclose(similarity, on_cpu.search(queries, k)[0], rtol=0, atol=1e-3)
