"""The vocabulary index: words, their text features, and what is asked of them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from candor.clip.artifact import BackboneRef
from candor.clip.backbone import Backbone, Progress, no_progress
from candor.clip.templates import DEFAULT_TEMPLATE
from candor.errors import IntegrityError, InvalidInput
from candor.files import whole_directory
from vocab_index.encoding import Encoding, Shelf
from vocab_index.manifest import (
    MANIFEST,
    METADATA,
    NOTICE,
    VECTORS,
    WORDS,
    Manifest,
    Provenance,
    check_files,
    file_digests,
    read_manifest,
)
from vocab_index.metadata import MetadataFile, write_metadata
from vocab_index.sources.wordnet import SHIPPED
from vocab_index.sources.words import WordList
from vocab_index.store.faiss_store import VectorStore, faiss_version
from vocab_index.store.kinds import Kind

WORDNET_NOTICE = SHIPPED.with_name(NOTICE)  # every copy of WordNet, and what is derived from it, must carry it


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


class VocabularyIndex:
    """Words with an exact index of their text features.

    Args:
        words: row i of the index is word i.
        store: the words' text features.
        backbone: which model encoded them.
        templates: which prompts; features are the normalised mean of the features under each.
        source: name of the word list.
        metadata: of each word; empty, or one mapping a word.
        provenance: how the features were made, and what was left out.
    """

    def __init__(
        self,
        words: Sequence[str],
        store: VectorStore,
        backbone: BackboneRef,
        templates: Sequence[str],
        source: str,
        metadata: Sequence[Mapping[str, Any]] | MetadataFile = (),
        provenance: Provenance | None = None,
    ) -> None:
        self.words, self.backbone, self.templates, self.source = tuple(words), backbone, tuple(templates), source
        self.store, self._metadata, self.provenance = store, metadata, provenance or Provenance()

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def build(
        cls,
        backbone: Backbone,
        words: WordList,
        templates: str | Sequence[str] = DEFAULT_TEMPLATE,
        progress: Progress = no_progress,
        *,
        kind: Kind | Literal["auto"] = "auto",
    ) -> VocabularyIndex:
        """Encode every word once through the backbone.

        Args:
            backbone: the model.
            words: the vocabulary; what its text tower cannot read is left out and counted (`Encoding.of`).
            templates: a prompt, or several whose features are averaged.
            progress: shows the work.
            kind: how vectors are stored and searched; by default what suits their number.

        Raises:
            InvalidInput: as `Encoding.of`.
        """
        return cls.encode(Encoding.of(backbone, words, templates, progress), progress, kind=kind)

    @classmethod
    def encode(
        cls,
        encoding: Encoding,
        progress: Progress = no_progress,
        *,
        kind: Kind | Literal["auto"] = "auto",
        shelf: Shelf | None = None,
    ) -> VocabularyIndex:
        """Build from what is tokenised already.

        Args:
            encoding: the words and their backbone.
            progress: shows shards.
            kind: as in `build`.
            shelf: where features are put; `vocab_index.parts.kept_parts` survives a kill, memory does not.
        """
        store = VectorStore.of(encoding.run(progress, shelf), kind)
        words = encoding.words
        provenance = Provenance(precision=encoding.precision, dropped=dict(words.dropped), left_out=dict(encoding.left_out))
        reference = BackboneRef.of(encoding.backbone)
        return cls(words.words, store, reference, encoding.templates, words.source, words.metadata, provenance)

    @cached_property
    def digest(self) -> str:
        """sha256 of what the features stand for: words in order, prompts and backbone. The same for every kind of store."""
        content = json.dumps([self.words, self.templates, self.backbone.sha256])
        return hashlib.sha256(content.encode()).hexdigest()

    def metadata(self, row: int) -> Mapping[str, Any]:
        """What is known of a word."""
        return self._metadata[row] if len(self._metadata) else {}

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

    def save(self, path: Path, replace: bool = False) -> None:
        """Write the index directory whole or not at all. Equal indexes give equal bytes.

        Raises:
            InvalidInput: as `candor.files.check_target`, or a word holds a line break.
        """
        if broken := next((word for word in self.words if "\n" in word), None):
            raise InvalidInput(f"{broken!r} holds a line break; a word is one line")
        with whole_directory(path, replace, mark=MANIFEST) as draft:
            self.store.save(draft / VECTORS)
            (draft / WORDS).write_text("".join(f"{word}\n" for word in self.words), encoding="utf-8", newline="\n")
            if len(self._metadata):
                write_metadata(draft / METADATA, (self._metadata[row] for row in range(len(self))))
            if "wordnet" in self.source.split(" + "):
                shutil.copyfile(WORDNET_NOTICE, draft / NOTICE)
            manifest = Manifest(
                backbone=self.backbone,
                templates=self.templates,
                source=self.source,
                vocabulary=self.digest,
                count=len(self),
                dimension=self.store.dimension,
                kind=self.store.kind,
                reason=self.store.reason,
                nprobe=self.store.nprobe,
                recall=self.store.recall,
                provenance=self.provenance,
                faiss_version=faiss_version(),
                sha256=file_digests(draft),
            )
            (draft / MANIFEST).write_text(manifest.text(), encoding="ascii", newline="\n")

    @classmethod
    def load(cls, path: Path, backbone: Backbone | None = None) -> VocabularyIndex:
        """Load and check an index directory.

        Args:
            path: the directory.
            backbone: if given, the index must have been made with it.

        Raises:
            IntegrityError: a file is missing, damaged or edited, or another backbone made the index.
        """
        manifest = read_manifest(path)
        check_files(path, manifest)
        if backbone is not None and backbone.digest != manifest.backbone.sha256:
            expected = f"an index of {backbone.name} with weights {backbone.digest[:12]}"
            raise IntegrityError(path, expected, f"{manifest.backbone.model} with {manifest.backbone.sha256[:12]}")
        words = (path / WORDS).read_bytes().decode("utf-8").split("\n")[:-1]
        metadata = MetadataFile(path / METADATA) if METADATA in manifest.sha256 else ()
        store = VectorStore.load(path / VECTORS)
        store.reason, store.recall = manifest.reason, manifest.recall
        index = cls(words, store, manifest.backbone, manifest.templates, manifest.source, metadata, manifest.provenance)
        _check_claims(path, manifest, index, len(metadata))
        return index


def _check_claims(path: Path, manifest: Manifest, index: VocabularyIndex, rows: int) -> None:
    """See that the parts of an index fit each other: whoever wrote the manifest may have put them together by hand."""
    if not len(index.words) == len(index.store) == manifest.count or rows not in (0, manifest.count):
        found = f"{len(index.words)} words, {len(index.store)} vectors and {rows} rows of metadata"
        raise IntegrityError(path, f"{manifest.count} words", found)
    claims = (manifest.vocabulary, manifest.dimension, manifest.kind, manifest.nprobe)
    facts = (index.digest, index.store.dimension, index.store.kind, index.store.nprobe)
    for name, claim, fact in zip(("vocabulary", "dimension", "kind", "nprobe"), claims, facts, strict=True):
        if claim != fact:
            raise IntegrityError(path, f"{name} {claim}", fact)
