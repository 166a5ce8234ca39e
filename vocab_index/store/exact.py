"""Exact search by inner product: one matrix product in torch, and its largest entries.

Torch and not FAISS, because FAISS's wheel brings a BLAS of its own, which on some processors picks slow kernels (measured:
six times numpy's time for 32 queries), and whose threads come on top of torch's. Torch's product keeps near numpy's time
for any number of queries, uses the threads that the process has anyway, and knows no limit on k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from vocab_index.store.vectors import Floats, Ids, slices

PRODUCTS_AT_ONCE = 2**25  # 128 MB, whatever the number of queries
WHOLE = 2**22  # products; beyond 16 MB of them new memory costs more than the search, so a buffer is filled block by block
QUERIES_AT_ONCE = 256  # of that buffer
CONVERTED_AT_ONCE = 2**21  # 8 MB of float32: near the processor, yet few enough pieces, each of which waits for all threads
GROUP = 32


def inner_products(queries: Tensor, vectors: Tensor) -> Tensor:
    """Every query with every vector.

    Args:
        queries: (Q, D) float32.
        vectors: (N, D) float32 or float16; float16 is converted piece by piece, and products are float32 all the same.

    Returns:
        (Q, N) float32.
    """
    products = _room(len(queries), len(vectors))
    if vectors.dtype == torch.float32:
        _multiply(queries, vectors, products)
        return products
    rows = max(1, CONVERTED_AT_ONCE // vectors.shape[1])
    buffer = torch.empty(min(rows, len(vectors)), vectors.shape[1])
    for piece in slices(len(vectors), rows):
        _multiply(queries, buffer[: piece.stop - piece.start].copy_(vectors[piece]), products[:, piece])
    return products


def _room(queries: int, count: int) -> Tensor:
    """Memory for products, from numpy: it asks for huge pages, and small ones take a quarter of the product's time."""
    return torch.from_numpy(np.empty((queries, count), np.float32))


def _multiply(queries: Tensor, vectors: Tensor, out: Tensor) -> None:
    if len(queries) == 1:
        torch.mv(vectors, queries[0], out=out[0])
    else:
        torch.mm(queries, vectors.T, out=out)


def streamed(queries: Tensor, blocks: Iterable[tuple[slice, Tensor]], count: int) -> Tensor:
    """Every query with every vector, where vectors come block by block: which of them, and their vectors (B, D).

    Args:
        queries: (Q, D) float32.
        blocks: all vectors, each once.
        count: N.

    Returns:
        (Q, N) float32.
    """
    products = _room(len(queries), count)
    for rows, vectors in blocks:
        _multiply(queries, vectors, products[:, rows])
    return products


def search(
    queries: Tensor,
    products: Callable[[Tensor], Tensor],
    count: int,
    k: int,
    blocks: Callable[[], Iterable[tuple[slice, Tensor]]],
    rows: int,
) -> tuple[Tensor, Tensor]:
    """The k largest inner products of each query.

    Args:
        queries: (Q, D) float32.
        products: gives the inner products (q, N) of some of the queries; none is NaN.
        count: N.
        k: from 1 to N.
        blocks: gives all vectors, each once, by rising id: what many queries go through, in memory for one block.
        rows: vectors of a block.

    Returns:
        Inner products (Q, k), highest first, and ids (Q, k). Equal products are ordered by id, at the cut too.
    """
    if not len(queries):
        return torch.empty(0, k), torch.empty(0, k, dtype=torch.int64)
    if len(queries) * count > WHOLE and 8 * k < rows:
        return _search_blocks(queries, blocks, products, k)
    at_once = max(1, PRODUCTS_AT_ONCE // count)
    found = [_largest(products(queries[some]), k) for some in slices(len(queries), at_once)]
    return torch.cat([similarity for similarity, _ in found]), torch.cat([ids for _, ids in found])


def _search_blocks(
    queries: Tensor, blocks: Callable[[], Iterable[tuple[slice, Tensor]]], products: Callable[[Tensor], Tensor], k: int
) -> tuple[Tensor, Tensor]:
    """Products are asked for again where equal ones stand at the cut, of which blocks may have dropped any."""
    found = [_among_blocks(queries[some], blocks(), k) for some in slices(len(queries), QUERIES_AT_ONCE)]
    similarity, ids = (torch.cat(part) for part in zip(*found, strict=True))
    for row in (similarity[:, k - 1] == similarity[:, -1]).nonzero()[:, 0].tolist() if similarity.shape[1] > k else ():
        whole = _largest(products(queries[row : row + 1]), k)
        similarity[row, :k], ids[row, :k] = whole[0][0], whole[1][0]
    return ordered(similarity[:, :k], ids[:, :k])


def _among_blocks(queries: Tensor, blocks: Iterable[tuple[slice, Tensor]], k: int) -> tuple[Tensor, Tensor]:
    """The k + 1 largest products, or all of them where there are fewer."""
    room, tops = torch.empty(0), []
    for rows, vectors in blocks:
        if room.numel() < len(queries) * len(vectors):
            room = torch.empty(len(queries) * len(vectors))
        products = room[: len(queries) * len(vectors)].view(len(queries), len(vectors))
        _multiply(queries, vectors, products)
        similarity, ids = _top(products, min(k + 1, len(vectors)))
        tops.append((similarity, ids + rows.start))
    similarity, ids = (torch.cat(part, dim=1) for part in zip(*tops, strict=True))
    best = similarity.topk(min(k + 1, similarity.shape[1]), dim=1)
    return best.values, ids.gather(1, best.indices)


def _largest(products: Tensor, k: int) -> tuple[Tensor, Tensor]:
    if k >= products.shape[1]:
        return products.sort(dim=1, descending=True, stable=True)
    similarity, ids = _top(products, k + 1)
    for row in (similarity[:, k - 1] == similarity[:, k]).nonzero()[:, 0].tolist():
        # any of those that are equal to the last may have been kept
        last = similarity[row, k - 1]
        above, equal = (products[row] > last).nonzero()[:, 0], (products[row] == last).nonzero()[:, 0]
        ids[row, :k] = torch.cat([above, equal])[:k]
        similarity[row, :k] = products[row, ids[row, :k]]
    return ordered(similarity[:, :k], ids[:, :k])


def _top(products: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """topk, three times as fast for many queries: the k largest products are in the k groups of the largest maxima."""
    groups = products.shape[1] // GROUP
    if len(products) == 1 or 8 * k > groups:
        return products.topk(k, dim=1)
    grouped = products[:, : GROUP * groups].view(len(products), GROUP, groups)
    best = grouped.amax(dim=1).topk(k, dim=1).indices
    members = (best[:, :, None] + groups * torch.arange(GROUP)).flatten(start_dim=1)
    rest = torch.arange(GROUP * groups, products.shape[1]).expand(len(products), -1)
    candidates = torch.cat([members, rest], dim=1)
    similarity, places = products.gather(1, candidates).topk(k, dim=1)
    return similarity, candidates.gather(1, places)


def ordered(similarity: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Each row (Q, k) from the highest similarity to the lowest, equal ones from the lowest id."""
    ids, by_id = ids.sort(dim=1)
    similarity, by_similarity = similarity.gather(1, by_id).sort(dim=1, descending=True, stable=True)
    return similarity, ids.gather(1, by_similarity)


def by_similarity(similarity: Floats, ids: Ids) -> tuple[Floats, Ids]:
    """`ordered`, of arrays."""
    in_order = ordered(torch.from_numpy(similarity), torch.from_numpy(ids))
    return in_order[0].numpy(), in_order[1].numpy()
