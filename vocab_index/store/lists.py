"""Inverted lists: how vectors are divided into lists, and how many lists a search must look into."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vocab_index.store import exact
from vocab_index.store.vectors import Floats, Ids, blocks_of, slices

MOST_LISTS = 65_536
VECTORS_A_LIST = 40  # of the sample that the centroids are fitted to; FAISS warns below 39
ROUNDS = 10
COSINES_AT_ONCE = 2**24  # 64 MB
RECALL = 0.99  # of the ten nearest
NEIGHBOURS = 10
SAMPLE = 256  # queries that the number of lists is tuned on


def list_count(count: int) -> int:
    """How many lists to divide N vectors into: 4 sqrt(N), so that finding lists and reading them cost about the same."""
    return max(1, min(MOST_LISTS, round(4 * math.sqrt(count)), count // VECTORS_A_LIST))


def fit_centroids(features: Floats, lists: int, seed: int = 0) -> Floats:
    """Spherical k-means by inner product on a seeded sample.

    In torch, because FAISS's own training runs on FAISS's BLAS; see exact.py. The same features give the same bits
    as long as torch runs on the same number of threads.

    Args:
        features: (N, D) array or memory map.
        lists: L, at most N.
        seed: of the sample, whose first L members are the first centroids.

    Returns:
        (L, D) of L2 norm 1.
    """
    rows = np.random.default_rng(seed).permutation(len(features))[: lists * VECTORS_A_LIST]
    first = torch.from_numpy(np.array(features[rows[:lists]], np.float32))
    sample = torch.from_numpy(np.array(features[np.sort(rows)], np.float32))
    centroids = normalize(first)
    for _ in range(ROUNDS):
        nearest = _nearest(sample, centroids)
        sums = torch.zeros_like(centroids).index_add_(0, nearest, sample)
        filled = torch.bincount(nearest, minlength=lists) > 0
        centroids[filled] = normalize(sums[filled])
    return np.asarray(centroids.numpy(), np.float32)


def nearest_list(vectors: Tensor, centroids: Floats) -> Ids:
    """The list that each vector belongs to.

    Args:
        vectors: (B, D).
        centroids: (L, D).

    Returns:
        (B,), the largest inner product.
    """
    return np.asarray(_nearest(vectors, torch.from_numpy(centroids)).numpy(), np.int64)


def _nearest(vectors: Tensor, centroids: Tensor) -> Tensor:
    rows = max(1, COSINES_AT_ONCE // len(centroids))
    return torch.cat([(vectors[some] @ centroids.T).argmax(dim=1) for some in slices(len(vectors), rows)])


def tune(features: Floats, probe: Callable[[Floats, int, int], tuple[Floats, Ids]], lists: int) -> tuple[int, float]:
    """How many lists a search must look into to find the neighbours of the vectors themselves.

    A query that lies elsewhere, such as an image among texts, may need more.

    Args:
        features: (N, D).
        probe: searches queries (Q, D) for k neighbours in so many lists; gives inner products and ids (Q, k).
        lists: L.

    Returns:
        The fewest lists, and their recall@10 on a seeded sample against comparing all: at least `RECALL`.
    """
    own = np.sort(np.random.default_rng(0).permutation(len(features))[:SAMPLE])
    queries, k = np.array(features[own], np.float32), min(NEIGHBOURS + 1, len(features))

    def products(some: Tensor) -> Tensor:
        return exact.streamed(some, blocks_of(features), len(features))

    true = exact.search(torch.from_numpy(queries), products, len(features), k)[1].numpy()
    return fewest_probes(lambda nprobe: recall_at_ten(probe(queries, k, nprobe)[1], true, own), lists)


def fewest_probes(recall_with: Callable[[int], float], lists: int) -> tuple[int, float]:
    """The fewest lists to look into that find enough.

    Args:
        recall_with: recall@10 when so many lists are looked into; 1 for all of them.
        lists: L.

    Returns:
        How many, and their recall, at least `RECALL`. Doubling finds the range, halving it the number.
    """
    few, many = 0, 1
    while (recall := recall_with(many)) < RECALL and many < lists:
        few, many = many, min(2 * many, lists)
    while many - few > 1:
        between = (few + many) // 2
        if (found := recall_with(between)) >= RECALL:
            many, recall = between, found
        else:
            few = between
    return many, recall


def recall_at_ten(found: Ids, exact: Ids, own: Ids) -> float:
    """The share of the true neighbours that were found, a query's own vector not counted.

    Args:
        found: ids (Q, >= k + 1).
        exact: ids (Q, k + 1), the true ones.
        own: ids (Q,) of the queries themselves.
    """
    hits = total = 0
    for some, true, self in zip(found.tolist(), exact.tolist(), own.tolist(), strict=True):
        wanted = [i for i in true if i != self][:NEIGHBOURS]
        hits, total = hits + len(set(wanted) & set(some)), total + len(wanted)
    return hits / total if total else 1.0
