"""The one file that knows FAISS: it keeps the vectors, searches inverted lists, and searches on a GPU.

FAISS's OpenMP never starts threads here: waiting ones spin, which on a busy machine costs more than the search (measured:
25 times), and its settings are torch's too where torch was imported first. So every call runs on the thread that makes it,
and queries are spread over threads of our own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from candor.errors import CandorError, IntegrityError
from vocab_index.store import exact
from vocab_index.store.kinds import Kind, resolve_kind
from vocab_index.store.lists import fit_centroids, list_count, nearest_list, tune
from vocab_index.store.matrix import mapped_matrix
from vocab_index.store.spread import spread
from vocab_index.store.vectors import BLOCK, Floats, Ids, blocks_of, check_queries, check_vectors, slices

try:
    import faiss
except ImportError as missing:
    raise CandorError(
        "FAISS is not installed; install Candor with exactly one of its extras: pip install '.[cpu]' or '.[gpu]'"
    ) from missing

GPU_MAX_K = 2048  # faiss-gpu's limit, on k and on the lists looked into; larger searches run on the CPU
FLAT_BLOCK = 16_384  # vectors that many queries are compared with at once, where nothing is converted
SCANNED = 4  # queries; up to so many FAISS compares half-precision vectors faster than torch converts them
EXACT_ABOVE = 1000  # neighbours; inverted lists are tuned for ten, and a pool of thousands is drawn once, so exactly


class VectorStore:
    """Search by inner product. Searching is safe from several threads, and leaves torch's threads as they are.

    Args:
        index: an IndexFlatIP, or a scalar quantizer or inverted lists of half precision.
        recall: of inverted lists, the share of the ten nearest that they find, measured when they were built; else None.

    Attributes:
        kind: `flat`, `fp16` or `ivf`.
        reason: why this kind, a sentence for people.
    """

    def __init__(self, index: Any, recall: float | None = None) -> None:
        self._index, self.recall = index, recall
        self.kind: Kind = _kind(index)
        self.reason = resolve_kind(self.kind, len(self), self.dimension)[1]
        self._matrix = None if self.kind == "ivf" else mapped_matrix(index, self.kind)
        if self.kind == "ivf":
            index.make_direct_map(True)
        self._gpu = _GpuIndex(index) if self.kind != "fp16" and _gpus() else None

    @classmethod
    def of(cls, features: Floats, kind: Kind | Literal["auto"] = "auto") -> VectorStore:
        """Keep vectors; row i has id i.

        Args:
            features: (N, D), N and D at least 1; a memory map is read block by block and never held whole.
            kind: how to keep them; `auto` decides by their number.

        Raises:
            InvalidInput: not such an array, a NaN or a number beyond half precision, or no such kind.
        """
        check_vectors(features)
        chosen = resolve_kind(kind, *features.shape)[0]
        if chosen == "ivf":
            return cls(*_inverted_lists(features))
        return cls(_all_vectors(features, chosen))

    @classmethod
    def load(cls, path: Path) -> VectorStore:
        """Map an index file into memory; pages are read when a search needs them, and shared between processes.

        Raises:
            IntegrityError: FAISS cannot read it, or it is not one of our kinds.
        """
        try:
            return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))
        except (RuntimeError, TypeError, ValueError) as error:
            raise IntegrityError(path, "an index of kind flat, fp16 or ivf", str(error).splitlines()[0]) from error

    def save(self, path: Path) -> None:
        """Write the index file. Equal vectors of one kind give equal files."""
        faiss.write_index(self._index, str(path))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """D."""
        return int(self._index.d)

    @property
    def nprobe(self) -> int | None:
        """How many inverted lists a search looks into; None for the other kinds."""
        return int(self._index.nprobe) if self.kind == "ivf" else None

    def search(self, queries: Floats, k: int) -> tuple[Floats, Ids]:
        """The k nearest ids of each query.

        `flat` and `fp16` compare all vectors; `ivf` those of the lists nearest to the query, and all of them for k over
        `EXACT_ABOVE`. On a GPU equal similarities may come in any order.

        Args:
            queries: (Q, D), finite.
            k: at least 1; at most all vectors are returned.

        Returns:
            Inner products (Q, min(k, N)), highest first, and ids (Q, min(k, N)), equal ones by id.

        Raises:
            InvalidInput: wrong width, a NaN or a number beyond half precision, or k < 1.
        """
        check_queries(queries, k, self.dimension)
        queries, k = np.array(queries, np.float32), min(k, len(self))
        few = self.kind == "ivf" and k <= EXACT_ABOVE
        if self._gpu is not None and k <= GPU_MAX_K and (self.nprobe or 1) <= GPU_MAX_K and (few or self.kind == "flat"):
            return self._completed(queries, *self._gpu.search(queries, k))
        if few:
            return self._completed(queries, *_probe(self._index, queries, k, self._index.nprobe))
        if self.kind == "fp16" and len(queries) <= SCANNED and k < min(len(self), EXACT_ABOVE):
            similarity, ids = _quiet(self._index.search, queries, k + 1)
            if (similarity[:, k - 1] > similarity[:, k]).all():  # else FAISS kept any of those that are equal to the last
                return exact.by_similarity(similarity[:, :k], ids[:, :k])
        rows = FLAT_BLOCK if self.kind == "flat" else BLOCK
        found = exact.search(torch.from_numpy(queries), self._products, len(self), k, partial(self.tensors, rows), rows)
        return found[0].numpy(), found[1].numpy()

    def vectors(self, ids: Ids) -> Floats:
        """The vectors of ids, (len(ids), D), a copy."""
        if self._matrix is not None:
            return self._matrix[torch.from_numpy(np.array(ids, np.int64))].float().numpy()
        with _one_thread():
            return np.asarray(self._index.reconstruct_batch(np.ascontiguousarray(ids, np.int64)), np.float32)

    def tensors(self, rows: int = BLOCK) -> Iterator[tuple[slice, Tensor]]:
        """Every vector once, by rising id: a slice of ids and their vectors (B, D), B at most `rows`.

        The vectors of a `flat` store are the store itself, without a copy: do not write to them.
        """
        for ids in slices(len(self), rows):
            kept = None if self._matrix is None else self._matrix[ids].float()
            yield ids, torch.from_numpy(self.vectors(np.arange(ids.start, ids.stop))) if kept is None else kept

    def blocks(self, rows: int = BLOCK) -> Iterator[tuple[Ids, Floats]]:
        """Every vector once, by rising id: ids (B,) and vectors (B, D), B at most `rows`; read-only where not a copy.

        FAISS's header leaves the vectors of a mapped file at an odd address. Torch does not mind, but numpy's product
        would take a hundred times longer, so such blocks are copied; `tensors` never copies.
        """
        for ids, vectors in self.tensors(rows):
            block = np.require(vectors.numpy(), requirements="A")
            block.flags.writeable = False
            yield np.arange(ids.start, ids.stop), block

    def inner_products(self, queries: Floats) -> Floats:
        """Inner products of queries (Q, D) with every vector, (Q, N), whatever the kind."""
        check_queries(queries, 1, self.dimension)
        return self._products(torch.from_numpy(np.array(queries, np.float32))).numpy()

    def _products(self, queries: Tensor) -> Tensor:
        if self._matrix is None:
            return exact.streamed(queries, self.tensors(), len(self))
        return exact.inner_products(queries, self._matrix)

    def _completed(self, queries: Floats, similarity: Floats, ids: Ids) -> tuple[Floats, Ids]:
        """Look into more lists for the queries whose lists held fewer than k vectors; then order what was found."""
        nprobe = self.nprobe or 1
        while (short := np.flatnonzero((ids < 0).any(axis=1))).size:
            if nprobe >= getattr(self._index, "nlist", 1):
                raise IntegrityError("index.faiss", f"{ids.shape[1]} numbers for a query", "fewer: a vector is not finite")
            nprobe = min(2 * nprobe, self._index.nlist)
            similarity[short], ids[short] = _probe(self._index, queries[short], ids.shape[1], nprobe)
        return exact.by_similarity(similarity, ids)


def _kind(index: Any) -> Kind:
    inner_product = index.metric_type == faiss.METRIC_INNER_PRODUCT and index.ntotal > 0
    scalar = isinstance(index, (faiss.IndexScalarQuantizer, faiss.IndexIVFScalarQuantizer))
    half = scalar and index.sq.qtype == faiss.ScalarQuantizer.QT_fp16
    if inner_product and type(index) is faiss.IndexFlatIP:
        return "flat"
    if inner_product and half and isinstance(index, faiss.IndexScalarQuantizer):
        return "fp16"
    if inner_product and half and not index.by_residual and index.invlists.compute_ntotal() == index.ntotal:
        return "ivf"
    raise ValueError(f"an index of type {type(index).__name__} with {index.ntotal} vectors")


def _all_vectors(features: Floats, kind: Kind) -> Any:
    """An index of kind `flat` or `fp16`. Its memory is taken once and filled: FAISS's add doubles it again and again."""
    count, dimension = features.shape
    half = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    index: Any = faiss.IndexFlatIP(dimension) if kind == "flat" else faiss.IndexScalarQuantizer(dimension, *half)
    index.codes.resize(count * index.code_size)
    index.ntotal = count
    matrix = mapped_matrix(index, kind)
    for rows, vectors in blocks_of(features):
        matrix[rows] = vectors
    return index


def _inverted_lists(features: Floats) -> tuple[Any, float]:
    """Inverted lists over half-precision vectors, with the nprobe that finds enough saved in them, and their recall."""
    centroids = fit_centroids(features, list_count(len(features)))
    index = _empty_lists(centroids)
    for rows, vectors in blocks_of(features):
        arrays = vectors.numpy(), np.arange(rows.start, rows.stop), nearest_list(vectors, centroids)
        with _one_thread():
            index.add_core(len(vectors), *(faiss.swig_ptr(array) for array in arrays))
    index.nprobe, recall = tune(features, partial(_probe, index), len(centroids))
    return index, recall


def _empty_lists(centroids: Floats) -> Any:
    lists, dimension = centroids.shape
    quantizer: Any = faiss.IndexFlatIP(dimension)
    with _one_thread():
        quantizer.add(centroids)
    index: Any = faiss.IndexIVFScalarQuantizer(
        quantizer,
        dimension,
        lists,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
        False,  # not by residual: a list then holds plain half-precision vectors
    )
    index.own_fields = True
    quantizer.this.disown()
    index.is_trained = True
    return index


def _probe(index: Any, queries: Floats, k: int, nprobe: int) -> tuple[Floats, Ids]:
    """Search inverted lists; -1 where they hold fewer than k vectors.

    nprobe is an argument of the search and never set on the index, which other threads search at the same time.
    """
    parameters: Any = faiss.SearchParametersIVF
    return _quiet(partial(index.search, params=parameters(nprobe=nprobe)), queries, k)


def _quiet(search: Callable[[Floats, int], tuple[Floats, Ids]], queries: Floats, k: int) -> tuple[Floats, Ids]:
    """FAISS's search on threads of our own."""

    def some(part: Floats) -> tuple[Floats, Ids]:
        with _one_thread():
            return search(part, k)

    return spread(some, queries)


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenMP at one thread for the thread that asks, and only for it."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


class _GpuIndex:
    """A copy of an index on the first GPU, which FAISS lets one thread at a time search."""

    def __init__(self, index: Any) -> None:
        self._resources = faiss.StandardGpuResources()
        self._index = faiss.index_cpu_to_gpu(self._resources, 0, index)
        self._lock = threading.Lock()

    def search(self, queries: Floats, k: int) -> tuple[Floats, Ids]:
        """As `VectorStore.search`, for k up to `GPU_MAX_K`; -1 where lists hold fewer than k vectors."""
        with self._lock:
            found: tuple[Floats, Ids] = self._index.search(queries, k)
        return found


def _gpus() -> int:
    """GPUs that FAISS can use; faiss-cpu has no such call, and faiss-gpu's transfer to none gives an empty index."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def faiss_version() -> str:
    """FAISS's version."""
    return str(faiss.__version__)
