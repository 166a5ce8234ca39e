"""Made-up features that are spread as CLIP's are, and a vocabulary of any size around them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candor.clip.artifact import BackboneRef
from candor.clip.templates import DEFAULT_TEMPLATE
from vocab_index.index import VocabularyIndex
from vocab_index.sources import wordnet
from vocab_index.store.faiss_store import VectorStore

Floats = NDArray[np.float32]
VECTORS, QUERIES, LABELS = "vectors.npy", "queries.npy", "labels.npy"
COMMON, TOPIC, CLUSTER = 0.6, 0.15, 0.15  # shares of a word's squared length; its own part has the rest
TOPIC_WORDS, CLUSTER_WORDS = 2048, 64  # on average
FEWEST = 8  # topics, and clusters
DECAY = 0.4  # coordinate i varies as (i + 1)^-DECAY: about 80 directions carry the variance, of 512
GAP, SHOWN = 0.5, 0.1  # shares of an image's squared length; its own part has the rest
ROWS = 16384  # made at once


def write_vectors(folder: Path, size: int, dimension: int, queries: int, labels: int) -> None:
    """Write `size` word features, image features that ask for them, and a label set's features.

    The generator (seeds 0 to 2) gives a word normalise(sqrt(.6) m + sqrt(.15) t + sqrt(.15) c + sqrt(.1) e), with m the
    direction that all texts share, t its topic's (such as animals), c its cluster's (dogs) and e its own; so two words
    have cosine .6, two of one topic .75, and two of one cluster .9. An image is
    normalise(sqrt(.5) u + sqrt(.4) e' + sqrt(.1) w): u is the direction that all images share, orthogonal to m (the
    modality gap), e' its own, evenly over all coordinates, and w a word of the vocabulary. So an image has cosine .32 to
    the word that it shows, .19 +- .04 to any word, and .56 to another image. Labels are words of the same clusters that
    are not in the vocabulary. All rows have L2 norm 1.

    These shares are assumed, about as CLIP's, not fitted to a model. Recall of approximate search depends on them: the
    more of a word is its own, the more lists hold what is near to an image.

    Args:
        folder: where `vectors.npy` (size, D), `queries.npy` (queries, D) and `labels.npy` (labels, D) are written, float32.
        size: N.
        dimension: D, at least 2.
        queries: images.
        labels: label features.
    """
    world = _World.of(size, dimension)
    vectors = np.lib.format.open_memmap(folder / VECTORS, "w+", np.float32, (size, dimension))
    generator = np.random.default_rng(1)
    for start in range(0, size, ROWS):
        rows = vectors[start : start + ROWS]
        rows[:] = world.words(len(rows), generator)
    vectors.flush()
    generator = np.random.default_rng(2)
    np.save(folder / LABELS, world.words(labels, generator))
    gap = generator.standard_normal(dimension, np.float32)
    gap -= (gap @ world.common) * world.common
    own = _unit(generator.standard_normal((queries, dimension), np.float32))
    shown = np.array(vectors[generator.integers(size, size=queries)])
    gap_share, own_share, word_share = np.sqrt([GAP, 1 - GAP - SHOWN, SHOWN], dtype=np.float32)
    np.save(folder / QUERIES, _unit(gap_share * _unit(gap) + own_share * own + word_share * shown))


@dataclass(frozen=True)
class _World:
    """What words are made of.

    Attributes:
        common: the direction that all share, (D,).
        clusters: topic and cluster part of each cluster's words, (clusters, D).
        spread: how far a word's own part varies along each coordinate, (D,), of norm 1.
    """

    common: Floats
    clusters: Floats
    spread: Floats

    @classmethod
    def of(cls, size: int, dimension: int) -> _World:
        """A world for `size` words."""
        generator = np.random.default_rng(0)
        spread = _unit(np.arange(1, dimension + 1, dtype=np.float32) ** np.float32(-DECAY))
        common = _unit(generator.standard_normal(dimension, np.float32))
        topics, clusters = (max(FEWEST, size // words) for words in (TOPIC_WORDS, CLUSTER_WORDS))
        topic = (generator.standard_normal((topics, dimension), np.float32) * spread)[
            generator.integers(topics, size=clusters)
        ]
        cluster = generator.standard_normal((clusters, dimension), np.float32) * spread
        return cls(common, np.float32(TOPIC**0.5) * topic + np.float32(CLUSTER**0.5) * cluster, spread)

    def words(self, count: int, generator: np.random.Generator) -> Floats:
        """So many new words, (count, D)."""
        own = generator.standard_normal((count, len(self.spread)), np.float32) * self.spread
        common_share, own_share = np.sqrt([COMMON, 1 - COMMON - TOPIC - CLUSTER], dtype=np.float32)
        cluster = self.clusters[generator.integers(len(self.clusters), size=count)]
        return _unit(common_share * self.common + cluster + own_share * own)


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return unit


def make_index(store: VectorStore) -> VocabularyIndex:
    """An index over made-up features with WordNet's words and metadata, each again with a number where it has too few."""
    known = wordnet.entries()
    words, metadata = _enough(known, len(store))
    backbone = BackboneRef(model="none", pretrained="none", sha256="0" * 64)
    return VocabularyIndex(words, store, backbone, (DEFAULT_TEMPLATE,), "wordnet", metadata)


def _enough(known: list[tuple[str, Mapping[str, Any]]], count: int) -> tuple[list[str], list[Mapping[str, Any]]]:
    again = ((f"{word} {number}", about) for number in itertools.count(2) for word, about in known)
    chosen = list(itertools.islice(itertools.chain(known, again), count))
    return [word for word, _ in chosen], [about for _, about in chosen]
