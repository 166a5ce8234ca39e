"""Queries spread over threads of our own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from vocab_index.store.vectors import Floats, Ids, slices

QUERIES_AT_ONCE = 32  # a thread's share; FAISS takes no BLAS for so few, so that no result depends on the other queries


def spread(search: Callable[[Floats], tuple[Floats, Ids]], queries: Floats) -> tuple[Floats, Ids]:
    """Search for some queries each, on as many threads as torch uses.

    The threads live for one call: starting them takes a fraction of a search, and a process that forks leaves none behind.

    Args:
        search: gives inner products and ids (q, k) of some of the queries, on the thread that calls it.
        queries: (Q, D).

    Returns:
        Inner products and ids, (Q, k).
    """
    threads = min(torch.get_num_threads(), len(queries))
    if threads <= 1:
        return search(queries)
    size = min(QUERIES_AT_ONCE, -(-len(queries) // threads))
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(search, [queries[rows] for rows in slices(len(queries), size)]))
    return np.concatenate([similarity for similarity, _ in found]), np.concatenate([ids for _, ids in found])
