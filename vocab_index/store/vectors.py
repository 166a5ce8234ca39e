"""Arrays of vectors: what they may hold, and how they are read block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candor.errors import InvalidInput

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
BLOCK = 4096  # vectors worked on at once: 8 MB of 512 numbers each
LARGEST = 65504  # of half precision; no inner product of such numbers overflows


def slices(count: int, rows: int = BLOCK) -> Iterator[slice]:
    """0 to N in steps of `rows`."""
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))


def blocks_of(features: Floats) -> Iterator[tuple[slice, Tensor]]:
    """An array or memory map (N, D), block by block: which rows, and their vectors in float32."""
    for rows in slices(len(features)):
        yield rows, torch.from_numpy(np.array(features[rows], np.float32))


def check_vectors(features: Floats) -> None:
    """See that vectors can be kept in any kind of index.

    Args:
        features: (N, D), N and D at least 1.

    Raises:
        InvalidInput: another shape, a NaN, or a number beyond half precision.
    """
    if features.ndim != 2 or 0 in features.shape:
        raise InvalidInput(f"vectors have shape {features.shape}; give (N, D) with at least one vector")
    for rows in slices(len(features)):
        _check_numbers(features[rows], "vectors")


def check_queries(queries: Floats, k: int, dimension: int) -> None:
    """See that queries can be searched for.

    Args:
        queries: (Q, D).
        k: neighbours of each.
        dimension: D of the index.

    Raises:
        InvalidInput: another width, k < 1, a NaN, or a number beyond half precision.
    """
    if queries.ndim != 2 or queries.shape[1] != dimension:
        raise InvalidInput(f"queries have shape {queries.shape}; the index holds vectors of {dimension}")
    if k < 1:
        raise InvalidInput(f"k must be at least 1, got {k}")
    _check_numbers(queries, "queries")


def _check_numbers(array: Floats, what: str) -> None:
    if not np.isfinite(array).all():
        raise InvalidInput(f"{what} hold NaN or infinity")
    if (largest := np.abs(array).max(initial=0)) > LARGEST:
        raise InvalidInput(f"{what} hold {largest:g}; numbers go up to {LARGEST}")
