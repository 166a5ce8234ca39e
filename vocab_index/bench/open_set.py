"""NegLabel: negatives of a new label set, and an image against known ones."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vocab_index.bench.figures import Figure, parity
from vocab_index.bench.timing import fastest
from vocab_index.bench.vectors import LABELS, QUERIES, VECTORS, Floats, make_index
from vocab_index.negatives import NegMining, mine
from vocab_index.open_set import OpenSet
from vocab_index.store.faiss_store import VectorStore

SCALE = 100.0
NEW_SET_SECONDS, KNOWN_SET_SECONDS, SIZE = 0.15, 0.002, 120_000  # targets, up to so many words
RANK_TOLERANCE = 1e-6  # of r, in float32
SCORE_TOLERANCE = 1e-4


def bench_open_set(folder: Path, store: Path, repeats: int) -> tuple[Figure, ...]:
    """Mining and scoring against numpy.

    Args:
        folder: holds the made-up vectors, queries and labels.
        store: file of the flat store of the same vectors.
        repeats: turns of each way.
    """
    vectors, labels, images = (np.load(folder / name) for name in (VECTORS, LABELS, QUERIES))
    index, mining = make_index(VectorStore.load(store)), NegMining()
    text = torch.from_numpy(labels)
    known = OpenSet(SCALE, index).for_labels(text, text)
    rows = mine(index.store, text, mining)
    assert known.negatives is not None
    negatives = known.negatives().numpy()
    found = fastest(
        {
            "new": lambda: OpenSet(SCALE, index).for_labels(text, text),
            "numpy's new": lambda: vectors[lowest(quantiles(vectors, labels, mining), len(rows))],
            "known": _each(lambda row: known.score(torch.from_numpy(images[row : row + 1])), len(images)),
            "numpy's known": lambda: numpy_score(images[:1], labels, negatives, mining.groups),
        },
        repeats,
    )
    section = f"NegLabel, {len(labels)} labels, {len(vectors):,} words, {len(rows):,} negatives"
    new, old = (NEW_SET_SECONDS, KNOWN_SET_SECONDS) if len(vectors) <= SIZE else (None, None)
    scores = numpy_score(images.astype(np.float64), labels, negatives, mining.groups)
    difference = float(np.abs(known.score(torch.from_numpy(images)).numpy() - scores).max())
    return (
        Figure(section, "a new label set, against numpy's quantile", found["new"], "s", found["numpy's new"], most=new),
        Figure(
            section, "an image against a known set, against numpy", found["known"], "s", found["numpy's known"], most=old
        ),
        parity(section, "rank of the negatives differs by", misplaced(vectors, labels, rows, mining), RANK_TOLERANCE),
        parity(section, "scores differ by", difference, SCORE_TOLERANCE),
    )


def _each(call: Callable[[int], object], count: int) -> Callable[[], object]:
    """A call that takes the next row each time, and begins again behind the last."""
    rows = cycle(range(count))
    return lambda: call(next(rows))


def quantiles(vectors: Floats, labels: Floats, mining: NegMining) -> NDArray[np.floating]:
    """What words are ranked by, as one writes it in numpy, (N,): the quantile of cosines, and nearly equal words last."""
    cosines = vectors @ labels.T
    ranks: NDArray[np.floating] = np.quantile(cosines, mining.quantile, axis=1)
    return np.where(cosines.max(axis=1) > mining.near, 2 + ranks, ranks)


def lowest(ranks: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Places of the `count` smallest."""
    rows: NDArray[np.int64] = np.argpartition(ranks, count - 1)[:count]
    return rows


def misplaced(vectors: Floats, labels: Floats, rows: NDArray[np.int64], mining: NegMining) -> float:
    """How far the largest rank that was mined lies above the smallest that was not, in float64; 0 where it does not."""
    ranks = quantiles(vectors.astype(np.float64), labels.astype(np.float64), mining)
    left = np.ones(len(ranks), bool)
    left[rows] = False
    return max(0.0, float(ranks[rows].max() - ranks[left].min())) if left.any() else 0.0


def numpy_score(images: NDArray[np.floating], labels: Floats, negatives: Floats, groups: int) -> NDArray[np.floating]:
    """NegLabel by its definition (Jiang et al., ICLR 2024, eq. 6), in the precision of the images, (B,).

    The mean over groups of sum_c exp(z_c) / (sum_c exp(z_c) + sum_(n in group) exp(z_n)), z = 100 cos; groups are equal
    runs of the negatives, and those that are left over are not used.
    """
    own, other = SCALE * images @ labels.T, SCALE * images @ negatives.T
    highest = np.maximum(own.max(axis=1), other.max(axis=1))[:, None]
    groups = min(groups, len(negatives))
    size = other.shape[1] // groups
    per_group = np.exp(other - highest)[:, : groups * size].reshape(len(images), groups, size).sum(axis=2)
    known = np.exp(own - highest).sum(axis=1, keepdims=True)
    scores: NDArray[np.floating] = (known / (known + per_group)).mean(axis=1)
    return scores
