"""The vocabulary index: words, their text features, and what is asked of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from candor.clip.artifact import BackboneRef
from candor.clip.backbone import Backbone, Progress, no_progress
from candor.clip.templates import DEFAULT_TEMPLATE, check_template, fill
from candor.errors import IntegrityError, InvalidInput
from candor.files import file_digest, whole_directory
from vocab_index.faiss_store import VectorStore, faiss_version
from vocab_index.words import OverlapFilter, WordList

Selection = Literal["near", "far", "random"]
MANIFEST, VECTORS, WORDS = "manifest.json", "index.faiss", "words.txt"


class Manifest(BaseModel):
    """What an index directory says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 2
    backbone: BackboneRef
    templates: tuple[str, ...]
    source: str
    count: int
    dimension: int
    metric: str = "inner product of unit vectors"
    faiss_version: str
    sha256: dict[str, str]


@dataclass(frozen=True)
class Neighbour:
    """A word of the vocabulary near a query.

    Attributes:
        word: the label.
        similarity: its cosine to the query.
        row: its place in the vocabulary.
        metadata: what the vocabulary knows of it, such as WordNet's category and gloss; empty where it knows nothing.
    """

    word: str
    similarity: float
    row: int = -1
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outliers:
    """DOR's candidates.

    Attributes:
        words: K words, in the order of their selection.
        similarity: mean cosine to the base classes, (K,).
        features: their zero-shot text features under the index's template, (K, D).
        dropped: words that would have been selected, but contain a class name or do not fit the text tower.
    """

    words: tuple[str, ...]
    similarity: tuple[float, ...]
    features: Tensor
    dropped: tuple[str, ...]


class VocabularyIndex:
    """Words with an exact index of their text features.

    Args:
        words: row i of the index is word i.
        store: the words' text features.
        backbone: which model encoded them.
        templates: which prompts; features are the normalised mean of the features under each.
        source: name of the word list.
        metadata: of each word; empty, or one mapping a word.
    """

    def __init__(
        self,
        words: Sequence[str],
        store: VectorStore,
        backbone: BackboneRef,
        templates: Sequence[str],
        source: str,
        metadata: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.words, self.backbone, self.templates, self.source = tuple(words), backbone, tuple(templates), source
        self.store, self._metadata = store, metadata

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def build(
        cls,
        backbone: Backbone,
        words: WordList,
        templates: str | Sequence[str] = DEFAULT_TEMPLATE,
        progress: Progress = no_progress,
    ) -> VocabularyIndex:
        """Encode every word once through the backbone."""
        template = check_template(templates if isinstance(templates, str) else templates[0])
        features = backbone.encode_text(fill(template, words.words), progress=progress)
        store = VectorStore.of(features.cpu().numpy())
        return cls(words.words, store, BackboneRef.of(backbone), (template,), words.source, words.metadata)

    @cached_property
    def digest(self) -> str:
        """sha256 of what the features stand for: words in order, prompts and backbone. The same for every kind of store."""
        content = json.dumps([self.words, self.templates, self.backbone.sha256])
        return hashlib.sha256(content.encode()).hexdigest()

    def metadata(self, row: int) -> Mapping[str, Any]:
        """What is known of a word."""
        return self._metadata[row] if self._metadata else {}

    def search(self, features: Tensor, k: int) -> list[list[Neighbour]]:
        """The k nearest words of image or text features.

        Args:
            features: (Q, D) of L2 norm 1.
            k: words a query; fewer where the vocabulary is smaller.

        Returns:
            For each query its words, nearest first.
        """
        similarity, ids = self.store.search(features.cpu().float().numpy(), k)
        return [
            [Neighbour(self.words[i], float(s), int(i), self.metadata(i)) for s, i in zip(row_s, row_i, strict=True)]
            for row_s, row_i in zip(similarity, ids, strict=True)
        ]

    def outliers(
        self,
        base_text_features: Tensor,
        k: int,
        class_names: Sequence[str],
        selection: Selection = "near",
        seed: int = 0,
    ) -> Outliers:
        """K words by their mean cosine to the base classes, without words that contain a class name.

        mean_c cos(n, t_c) = <n, mean_c t_c>, so one inner product with the mean of the base features ranks all words.

        Args:
            base_text_features: zero-shot features of the base classes, (C, D) of L2 norm 1.
            k: K; fewer where the vocabulary is smaller.
            class_names: names to keep out; give the new classes too wherever nothing may leak from them.
            selection: the nearest words (DOR), the farthest, or any.
            seed: of a random selection.

        Raises:
            InvalidInput: no word is left, or no such selection.
        """
        if selection not in get_args(Selection):
            raise InvalidInput(f"unknown selection {selection!r}; valid: {', '.join(get_args(Selection))}")
        mean = base_text_features.double().mean(dim=0).float().cpu().numpy()[None]
        overlap = OverlapFilter(class_names)
        similarity, ids = (found[0] for found in self.store.search(mean, len(self)))
        order = {"near": np.arange(len(ids)), "far": np.arange(len(ids))[::-1]}.get(selection)
        if order is None:
            order = np.random.default_rng(seed).permutation(len(ids))
        kept: list[int] = []
        dropped: list[str] = []
        for place in order.tolist():
            if len(kept) == k:
                break
            if overlap.overlaps(self.words[ids[place]]):
                dropped.append(self.words[ids[place]])
            else:
                kept.append(place)
        if not kept:
            raise InvalidInput(f"vocabulary {self.source!r} has no word that does not contain a class name")
        return Outliers(
            tuple(self.words[i] for i in ids[kept]),
            tuple(similarity[kept].tolist()),
            torch.from_numpy(self.store.vectors(ids[kept])).to(base_text_features.device),
            tuple(dropped),
        )

    def save(self, path: Path, replace: bool = False) -> None:
        """Write the index directory whole or not at all."""
        with whole_directory(path, replace, mark=MANIFEST) as draft:
            self.store.save(draft / VECTORS)
            (draft / WORDS).write_text("\n".join(self.words) + "\n", encoding="utf-8")
            manifest = Manifest(
                backbone=self.backbone,
                templates=self.templates,
                source=self.source,
                count=len(self),
                dimension=self.store.dimension,
                faiss_version=faiss_version(),
                sha256={name: file_digest(draft / name) for name in (VECTORS, WORDS)},
            )
            (draft / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: Path, backbone: Backbone | None = None) -> VocabularyIndex:
        """Load and check an index directory.

        Args:
            path: the directory.
            backbone: if given, the index must have been made with it.

        Raises:
            IntegrityError: a file is missing, damaged or edited, or another backbone made the index.
        """
        for name in (MANIFEST, VECTORS, WORDS):
            if not (path / name).is_file():
                raise IntegrityError(path / name, "a file", "nothing")
        try:
            manifest = Manifest.model_validate(json.loads((path / MANIFEST).read_text()))
        except (ValueError, ValidationError) as error:
            raise IntegrityError(path / MANIFEST, "an index manifest", str(error).splitlines()[0]) from error
        for name in (VECTORS, WORDS):
            found = file_digest(path / name)
            if found != manifest.sha256.get(name):
                raise IntegrityError(path / name, f"sha256 {manifest.sha256.get(name)}", found)
        if backbone is not None and backbone.digest != manifest.backbone.sha256:
            expected = f"an index of {backbone.name} with weights {backbone.digest[:12]}"
            raise IntegrityError(path, expected, f"{manifest.backbone.model} with {manifest.backbone.sha256[:12]}")
        words = (path / WORDS).read_text(encoding="utf-8").splitlines()
        index = VectorStore.load(path / VECTORS)
        if not len(words) == len(index) == manifest.count:
            raise IntegrityError(path, f"{manifest.count} words", f"{len(words)} words and {len(index)} vectors")
        return cls(words, index, manifest.backbone, manifest.templates, manifest.source)
