"""The one file that knows FAISS: an exact inner-product index over unit vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from candor.errors import CandorError, IntegrityError, InvalidInput

try:
    import faiss
except ImportError as missing:
    raise CandorError(
        "FAISS is not installed; install Candor with exactly one of its extras: pip install '.[cpu]' or '.[gpu]'"
    ) from missing

Floats = NDArray[np.float32]
Kind = Literal["flat", "fp16", "ivf"]
BLOCK = 16384  # vectors worked on at once
GPU_MAX_K = 2048  # faiss-gpu's limit on k; larger searches run on the CPU


class VectorStore:
    """Exact search by inner product. Searching is safe from several threads; adding is not.

    Args:
        index: an IndexFlatIP.
    """

    def __init__(self, index: Any) -> None:
        self._cpu = index
        self._gpu = faiss.index_cpu_to_all_gpus(index) if _gpus() else None

    @classmethod
    def of(cls, features: Floats) -> VectorStore:
        """An index of (N, D) vectors; row i has id i."""
        index = faiss.IndexFlatIP(features.shape[1])
        index.add(np.ascontiguousarray(features, np.float32))
        return cls(index)

    @classmethod
    def load(cls, path: Path) -> VectorStore:
        """Read an index file.

        Raises:
            IntegrityError: FAISS cannot read it.
        """
        try:
            return cls(faiss.read_index(str(path)))
        except RuntimeError as error:
            raise IntegrityError(path, "a FAISS index", str(error).splitlines()[0]) from error

    def save(self, path: Path) -> None:
        """Write the index file."""
        faiss.write_index(self._cpu, str(path))

    @property
    def kind(self) -> Kind:
        """How vectors are stored and searched."""
        return "flat"

    def __len__(self) -> int:
        return int(self._cpu.ntotal)

    @property
    def dimension(self) -> int:
        """D."""
        return int(self._cpu.d)

    def search(self, queries: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
        """The k nearest ids of each query.

        Args:
            queries: (Q, D), finite.
            k: at least 1; at most all vectors are returned.

        Returns:
            Inner products (Q, k), highest first, and ids (Q, k).

        Raises:
            InvalidInput: wrong width, a NaN, or k < 1.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise InvalidInput(f"queries have shape {queries.shape}; the index holds vectors of {self.dimension}")
        if k < 1:
            raise InvalidInput(f"k must be at least 1, got {k}")
        if not np.isfinite(queries).all():
            raise InvalidInput("queries hold NaN or infinity")
        index = self._gpu if self._gpu is not None and k <= GPU_MAX_K else self._cpu
        similarity, ids = index.search(np.ascontiguousarray(queries, np.float32), min(k, len(self)))
        return similarity, ids

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """The vectors of ids, (len(ids), D)."""
        return np.asarray(self._cpu.reconstruct_batch(ids), np.float32)

    def blocks(self, rows: int = BLOCK) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Every vector once: ids (B,) and vectors (B, D), at most `rows` at a time, in whatever order they are stored."""
        for start in range(0, len(self), rows):
            ids = np.arange(start, min(start + rows, len(self)))
            yield ids, self.vectors(ids)

    def inner_products(self, queries: Floats) -> Floats:
        """Inner products of queries (Q, D) with every vector, (Q, N)."""
        products = np.empty((len(queries), len(self)), np.float32)
        for ids, vectors in self.blocks():
            products[:, ids] = queries @ vectors.T
        return products


def _gpus() -> int:
    """GPUs that FAISS can use; faiss-cpu has no such call, and index_cpu_to_all_gpus of none returns an empty index."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def faiss_version() -> str:
    """FAISS's version."""
    return str(faiss.__version__)
