"""Building, saving and loading: time, size and memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

from candor.files import file_digest
from vocab_index.bench.figures import Figure
from vocab_index.bench.timing import alone, seconds
from vocab_index.bench.vectors import QUERIES, VECTORS, make_index
from vocab_index.index import VocabularyIndex
from vocab_index.store.faiss_store import VectorStore
from vocab_index.store.kinds import Kind

K = 10
LOAD_SECONDS, LOAD_SIZE = 1.0, 120_000  # target for the directory of a vocabulary of up to so many words


def bench_store(folder: Path, kind: Kind, path: Path, size: int) -> tuple[Figure, ...]:
    """Build one kind of store, save it at `path`, and load it in a second process."""
    build, save = alone(build_store, folder, kind, path)
    load, first, memory = alone(load_store, folder, path)
    section, stored = f"store, {size:,}", float(path.stat().st_size)
    return (
        Figure(section, f"{kind}, build", build),
        Figure(section, f"{kind}, save", save),
        Figure(section, f"{kind}, file, against the float32 array", stored, "bytes", (folder / VECTORS).stat().st_size),
        Figure(section, f"{kind}, load, without looking at the content", load),
        Figure(section, f"{kind}, first search", first),
        Figure(section, f"{kind}, memory of load and first search", memory, "bytes"),
    )


def build_store(folder: Path, kind: Kind, path: Path) -> tuple[float, float]:
    """Seconds of building and of saving."""
    built: list[VectorStore] = []
    vectors = np.load(folder / VECTORS, mmap_mode="r")
    build = seconds(lambda: built.append(VectorStore.of(vectors, kind)))
    return build, seconds(lambda: built[0].save(path))


def load_store(folder: Path, path: Path) -> tuple[float, float, float]:
    """Seconds of loading and of the first search, and bytes that both left in memory; pages of a mapped file count."""
    query = np.load(folder / QUERIES)[:1]
    loaded: list[VectorStore] = []
    before = psutil.Process().memory_info().rss
    load = seconds(lambda: loaded.append(VectorStore.load(path)))
    first = seconds(lambda: loaded[0].search(query, K))
    return load, first, float(psutil.Process().memory_info().rss - before)


def bench_directory(store: Path, directory: Path) -> tuple[Figure, ...]:
    """Save a whole index with WordNet's words and metadata, and load it in a second process.

    The files are in the page cache then.
    """
    save, size = alone(save_directory, store, directory)
    load, hashing, memory, metadata = alone(load_directory, directory)
    section = f"index directory, {size:,}"
    target = LOAD_SECONDS if size <= LOAD_SIZE else None
    return (
        Figure(section, "save", save),
        Figure(section, "load and verify, against sha256 of its files one by one", load, "s", hashing, most=target),
        Figure(section, "memory of loading", memory, "bytes"),
        Figure(section, "metadata of one word", metadata),
    )


def save_directory(store: Path, directory: Path) -> tuple[float, int]:
    """Seconds of saving, and how many words."""
    index = make_index(VectorStore.load(store))
    return seconds(lambda: index.save(directory)), len(index)


def load_directory(directory: Path) -> tuple[float, float, float, float]:
    """Seconds of loading and of hashing, bytes that loading left in memory, and seconds of one word's metadata."""
    files = sorted(directory.iterdir())
    hashing = min(seconds(lambda: [file_digest(path) for path in files]) for _ in range(2))
    loaded: list[VocabularyIndex] = []
    before = psutil.Process().memory_info().rss
    load = seconds(lambda: loaded.append(VocabularyIndex.load(directory)))
    memory = float(psutil.Process().memory_info().rss - before)
    return load, hashing, memory, seconds(lambda: loaded[0].metadata(len(loaded[0]) - 1))
