"""The whole of `candor bench vocab`, part by part, each in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from candor.clip.backbone import Backbone
from vocab_index.bench.concurrency import bench_concurrency
from vocab_index.bench.encoding import bench_encoding
from vocab_index.bench.figures import Figure
from vocab_index.bench.mining import bench_mining
from vocab_index.bench.open_set import bench_open_set
from vocab_index.bench.searching import bench_searching
from vocab_index.bench.storage import bench_directory, bench_store
from vocab_index.bench.timing import alone
from vocab_index.bench.vectors import write_vectors
from vocab_index.store.kinds import Kind

KINDS: tuple[Kind, ...] = get_args(Kind)
Part = tuple[str, Callable[[], tuple[Figure, ...]]]


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        words: nouns that are encoded.
        sizes: vectors of the vocabularies; each is searched, and the first is asked everything else too.
        dimension: D of these vectors.
        batches: queries at once.
        classes: labels that outliers are mined for, and of the open set.
        outliers: K of mining.
        repeats: turns of each way; the fastest counts.
    """

    words: int = 512
    sizes: tuple[int, ...] = (118_000, 1_000_000)
    dimension: int = 512
    batches: tuple[int, ...] = (1, 32, 256)
    classes: int = 100
    outliers: int = 5000
    repeats: int = 3


QUICK = Setting(words=32, sizes=(2000,), dimension=32, batches=(1, 4), classes=20, outliers=100, repeats=1)


@dataclass(frozen=True)
class VocabFigures:
    """The whole benchmark.

    Attributes:
        setting: what was measured.
        figures: in the order in which they were measured.
    """

    setting: Setting
    figures: tuple[Figure, ...]

    @property
    def equal(self) -> bool:
        """Whether both ways agreed wherever they must."""
        return all(figure.met for figure in self.figures if figure.parity)

    @property
    def missed(self) -> tuple[Figure, ...]:
        """Figures that do not reach their targets."""
        return tuple(figure for figure in self.figures if figure.met is False)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        figures = [figure.document() for figure in self.figures]
        return {"setting": asdict(self.setting), "figures": figures, "missed": len(self.missed), "equal": self.equal}


def bench_vocab(setting: Setting, load: Callable[[], Backbone], on_done: Callable[[str], None]) -> VocabFigures:
    """Measure.

    Args:
        setting: what.
        load: gives the model that encodes words; must be picklable, as it runs in another process.
        on_done: called behind each of `count_parts(setting)` parts with its description.
    """
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="candor-bench-") as folder:
        for description, run in _parts(setting, load, Path(folder)):
            figures += run()
            on_done(description)
    return VocabFigures(setting, tuple(figures))


def count_parts(setting: Setting) -> int:
    """How often `bench_vocab` calls `on_done`."""
    return 4 + len(KINDS) + (2 + len(KINDS)) * len(setting.sizes)


def _parts(setting: Setting, load: Callable[[], Backbone], folder: Path) -> Iterator[Part]:
    yield "encode", partial(alone, bench_encoding, load, setting.words, setting.repeats)
    for number, size in enumerate(setting.sizes):
        stores = {kind: folder / f"{kind}.faiss" for kind in KINDS}
        yield f"make {size:,} vectors", partial(_write, setting, folder, size)
        for kind, path in stores.items():
            yield f"{kind} of {size:,}", partial(bench_store, folder, kind, path, size)
        yield f"search {size:,}", partial(alone, bench_searching, folder, stores, setting.batches, setting.repeats)
        if number == 0:
            yield from _first_only(setting, folder, stores)


def _first_only(setting: Setting, folder: Path, stores: dict[Kind, Path]) -> Iterator[Part]:
    flat = stores["flat"]
    yield "index directory", partial(bench_directory, flat, folder / "index")
    yield "mining", partial(alone, bench_mining, folder, flat, setting.outliers, setting.repeats)
    yield "open set", partial(alone, bench_open_set, folder, flat, setting.repeats)
    for kind, path in stores.items():
        yield f"threads, {kind}", partial(alone, bench_concurrency, folder, kind, path, setting.repeats)


def _write(setting: Setting, folder: Path, size: int) -> tuple[Figure, ...]:
    alone(write_vectors, folder, size, setting.dimension, max(setting.batches), setting.classes)
    return ()
