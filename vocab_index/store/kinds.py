"""The three ways to keep vectors, and which of them a vocabulary gets."""

from __future__ import annotations

from typing import Literal, get_args

from candor.errors import InvalidInput

Kind = Literal["flat", "fp16", "ivf"]

# Exact search reads every number of every vector, so numbers, and not vectors, decide how long it takes. On two cores it
# reads 118,000 vectors of 512 (60 million numbers) in 10 ms.
FLAT_NUMBERS = 160_000_000  # 312,500 vectors of 512: 640 MB, some 25 ms a query
FP16_NUMBERS = 500_000_000  # 976,562 vectors of 512: 1 GB in half precision, some 100 ms a query

# HNSW is not among them. On 120,000 vectors of 512 it found 95.7 % of the ten nearest (ef 256) in 278 MB after 61 s of
# building; inverted lists found 97.5 % in less memory, half of it in half precision, and search as fast.


def choose_kind(count: int, dimension: int) -> tuple[Kind, str]:
    """The kind for a vocabulary of this size, and why, as a sentence for people.

    Args:
        count: N vectors.
        dimension: D numbers each.

    Returns:
        `flat` (all vectors compared in float32) while that takes milliseconds, `fp16` (all compared, kept in half
        precision) while it takes about a tenth of a second, `ivf` (the nearest of many lists compared) beyond that.
    """
    numbers, vectors = count * dimension, f"{count:,} vectors of {dimension}"
    if numbers <= FLAT_NUMBERS:
        return "flat", f"{vectors}: comparing all of them takes milliseconds"
    if numbers <= FP16_NUMBERS:
        return "fp16", f"{vectors}: all are compared, and half precision halves the memory to {numbers * 2 / 1e9:.1f} GB"
    return "ivf", f"{vectors}: comparing all of them is too slow, so only the lists nearest to a query are searched"


def resolve_kind(kind: Kind | Literal["auto"], count: int, dimension: int) -> tuple[Kind, str]:
    """The kind that was asked for, or for `auto` the one that fits the size, and why.

    Raises:
        InvalidInput: there is no such kind.
    """
    fitting, reason = choose_kind(count, dimension)
    if kind == "auto" or kind == fitting:
        return fitting, reason
    if kind not in get_args(Kind):
        raise InvalidInput(f"unknown kind of index {kind!r}; valid: auto, {', '.join(get_args(Kind))}")
    return kind, f"{count:,} vectors of {dimension}: {kind} was asked for, where {fitting} would be chosen"
