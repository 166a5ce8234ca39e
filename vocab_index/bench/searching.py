"""Searching: each kind of store against numpy, at several batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocab_index.bench.figures import Figure, parity
from vocab_index.bench.mining import top
from vocab_index.bench.timing import fastest
from vocab_index.bench.vectors import QUERIES, VECTORS, Floats
from vocab_index.store.faiss_store import VectorStore
from vocab_index.store.kinds import Kind

Answer = tuple[Floats, NDArray[np.int64]]

K = 10
SOME = 32  # queries multiplied at once when the truth is looked for
EXACT_TIMES = 1 / 1.2  # exact search against numpy's product alone
APPROXIMATE_TIMES, APPROXIMATE_FROM = 5, 1_000_000  # approximate search against exact search, from so many vectors on
RECALL = 0.99
TOLERANCES: Mapping[Kind, float] = {"flat": 1e-5, "fp16": 1e-3, "ivf": 1e-3}  # of similarity


def bench_searching(folder: Path, stores: Mapping[Kind, Path], batches: Sequence[int], repeats: int) -> tuple[Figure, ...]:
    """All kinds in one process, turn by turn with numpy.

    Args:
        folder: holds the made-up vectors and queries.
        stores: a file for each kind; "flat" is among them.
        batches: queries at once; no more than there are.
        repeats: turns of each.
    """
    vectors, queries = np.load(folder / VECTORS), np.load(folder / QUERIES)
    loaded = {kind: VectorStore.load(path) for kind, path in stores.items()}
    section = f"search, k {K}, {len(vectors):,} x {vectors.shape[1]}"
    found: list[Figure] = []
    nearest = exact(vectors, queries)
    for kind, store in loaded.items():
        found += agreement(section, kind, store.search(queries, K), nearest, vectors, queries)
    for batch in batches:
        some = queries[:batch]
        calls: dict[str, Callable[[], object]] = {kind: partial(store.search, some, K) for kind, store in loaded.items()}
        calls |= {"product": partial(np.matmul, some, vectors.T), "top": partial(numpy_search, vectors, some)}
        found += figures(section, batch, fastest(calls, repeats), len(vectors))
    return tuple(found)


def figures(section: str, batch: int, seconds: Mapping[str, float], size: int) -> tuple[Figure, ...]:
    """A batch size's figures.

    Args:
        section: theirs.
        batch: queries at once.
        seconds: of each kind, of numpy's "product", and of "top", which is the product and argpartition.
        size: N.
    """
    flat = seconds["flat"]
    rows = [
        Figure(section, f"flat, batch {batch}, against numpy's product", flat, "s", seconds["product"], EXACT_TIMES),
        Figure(section, f"flat, batch {batch}, against numpy's product + argpartition", flat, "s", seconds["top"]),
    ]
    for kind in (name for name in seconds if name not in ("flat", "product", "top")):
        target = APPROXIMATE_TIMES if kind == "ivf" and size >= APPROXIMATE_FROM else None
        rows.append(Figure(section, f"{kind}, batch {batch}, against flat", seconds[kind], "s", flat, target))
    return tuple(rows)


def exact(vectors: Floats, queries: Floats) -> Answer:
    """The K largest inner products of each query, (Q, K), largest first, and their places."""
    found = [
        _largest(products)
        for start in range(0, len(queries), SOME)
        for products in queries[start : start + SOME] @ vectors.T
    ]
    return np.stack([similarity for similarity, _ in found]), np.stack([ids for _, ids in found])


def _largest(products: Floats) -> Answer:
    ids = top(products, K)
    return products[ids], ids


def agreement(
    section: str, kind: Kind, answer: Answer, nearest: Answer, vectors: Floats, queries: Floats
) -> tuple[Figure, ...]:
    """Recall, and whether similarities are right.

    They are compared with the nearest where the store compares all vectors, else with those of the words that it found.
    """
    similarity, ids = answer
    expected, best = nearest
    recall = np.mean([len(set(row) & set(true)) / K for row, true in zip(ids.tolist(), best.tolist(), strict=True)])
    if kind == "ivf":
        expected = np.stack([vectors[row] @ query for row, query in zip(ids, queries, strict=True)])
    return (
        Figure(section, f"{kind}, recall@{K} against numpy", float(recall), "", least=RECALL),
        parity(section, f"{kind}, similarities differ by", float(np.abs(similarity - expected).max()), TOLERANCES[kind]),
    )


def numpy_search(vectors: Floats, queries: Floats) -> list[NDArray[np.int64]]:
    """Exact search as one writes it in numpy: one product, then argpartition."""
    return [np.argpartition(row, -K)[-K:] for row in queries @ vectors.T]
