"""Mining outliers for DOR: one inner product a word, against one cosine a word and class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vocab_index.bench.figures import Figure, parity
from vocab_index.bench.timing import fastest
from vocab_index.bench.vectors import LABELS, VECTORS, Floats, make_index
from vocab_index.outliers import OutlierPool
from vocab_index.sources.overlap import OverlapFilter
from vocab_index.store.faiss_store import VectorStore

ROWS = 16384  # of a float64 block
TIMES = 20


def bench_mining(folder: Path, store: Path, k: int, repeats: int) -> tuple[Figure, ...]:
    """`OutlierPool.near` against the pairwise definition, in the two ways that it is usually written.

    All end with the same overlap filter over the words that they select, and with the pool's features.

    Args:
        folder: holds the made-up vectors and labels.
        store: file of the flat store of the same vectors.
        k: outliers.
        repeats: turns of each way.
    """
    vectors, labels = np.load(folder / VECTORS), np.load(folder / LABELS)
    index, base = make_index(VectorStore.load(store)), torch.from_numpy(labels)
    names = [f"class {number}" for number in range(len(labels))]  # no noun contains one: all ways select the same

    def select(means: Floats) -> Floats:
        rows = top(means, k)
        overlap = OverlapFilter(names)
        features: Floats = vectors[rows[[not overlap.overlaps(index.words[row]) for row in rows]]]
        return features

    pool = OutlierPool.near(index, base, k, names)
    found = fastest(
        {
            "ours": lambda: OutlierPool.near(index, base, k, names),
            "by class": lambda: select(class_by_class(vectors, labels)),
            "matrix": lambda: select((vectors @ labels.T).mean(axis=1)),
        },
        repeats,
    )
    section = f"mining {k:,} of {len(vectors):,} words for {len(labels)} classes"
    known = {word: row for row, word in enumerate(index.words)}
    exact = set(top(pairwise(vectors, labels), k).tolist())
    other = len(exact.symmetric_difference(known[word] for word in pool.words))
    return (
        Figure(section, "against numpy, class by class", found["ours"], baseline=found["by class"], least_times=TIMES),
        Figure(section, "against numpy, one matrix product", found["ours"], baseline=found["matrix"], least_times=TIMES),
        parity(section, "words that pairwise mining in float64 selects otherwise", other, 0),
    )


def class_by_class(vectors: Floats, labels: Floats) -> Floats:
    """Mean cosine of each word to the classes, a class at a time, (N,)."""
    total = np.zeros(len(vectors), np.float32)
    for label in labels:
        total += vectors @ label
    return total / np.float32(len(labels))


def pairwise(vectors: Floats, labels: Floats) -> NDArray[np.float64]:
    """The definition in float64: the mean of each word's cosines to the classes, (N,)."""
    blocks = (vectors[start : start + ROWS].astype(np.float64) for start in range(0, len(vectors), ROWS))
    return np.concatenate([(block @ labels.T.astype(np.float64)).mean(axis=1) for block in blocks])


def top(values: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Places of the k largest, largest first."""
    rows = np.argpartition(-values, min(k, len(values)) - 1)[:k]
    order: NDArray[np.int64] = rows[np.argsort(-values[rows])]
    return order
