"""The caller's labels beside a vocabulary: what is nearest an image, and which words a label already names."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from candor.clip.templates import readable
from vocab_index.index import Neighbour, VocabularyIndex
from vocab_index.sources.overlap import OverlapFilter

# From this cosine of two text features on, the model is taken not to tell the texts apart. CSP (NeurIPS 2024) takes .95 for
# real CLIP weights; for glyph-clip that is far too low: nearly every phrase has a neighbour there, 13 on average, and for a
# drawing of the one the model prefers the other in 15 % of cases only (.95 to .96). From .99 on it does so in some 40 %,
# where 50 % would be a coin. Not measured on real weights; a near-synonym that is offered as new is the smaller mistake.
SAME_COSINE = 0.99
REMEMBERED_WORDS = 1024  # a label set: which label they are a spelling of
BYTES_A_LABEL = 1024  # its place in the tables of names, roughly


@dataclass(frozen=True)
class NearLabel:
    """A label near an image.

    Attributes:
        label: a word of the vocabulary, or one of the caller's labels.
        similarity: cosine to the image, under the vocabulary's own templates.
        source: where it comes from.
        same_as: the caller's label that a word of the vocabulary is another name of; None for anything else.
    """

    label: str
    similarity: float
    source: Literal["vocabulary", "labels"]
    same_as: str | None = None


class SynonymFinder:
    """A vocabulary that label sets are placed in.

    Args:
        index: the vocabulary.
    """

    def __init__(self, index: VocabularyIndex) -> None:
        self._index = index
        self._rows = {_reading(word): row for row, word in enumerate(index.words)}

    def place(self, labels: Sequence[str], features: Tensor) -> PlacedLabels:
        """Labels in the vocabulary, whether or not it holds them.

        Args:
            labels: C labels that read differently.
            features: their text features under the index's templates, (C, D) of L2 norm 1.
        """
        synsets: dict[str, str] = {}
        for label in labels:
            row = self._rows.get(_reading(label))
            if row is not None and (synset := _synset(self._index.metadata(row))):
                synsets.setdefault(synset, label)
        return PlacedLabels(labels, features, synsets, self._index)


class PlacedLabels:
    """Labels of a caller beside the words of a vocabulary. Made by `SynonymFinder.place`; safe to use from several threads.

    Args:
        labels: C labels.
        features: (C, D) under the index's templates.
        synsets: WordNet synset -> label, of the labels that the vocabulary holds.
        index: the vocabulary.
    """

    def __init__(self, labels: Sequence[str], features: Tensor, synsets: Mapping[str, str], index: VocabularyIndex) -> None:
        self._labels, self._features, self._synsets, self._index = tuple(labels), features.cpu().float(), synsets, index
        self._readings = {_reading(label): label for label in labels}
        self._overlaps = OverlapFilter(self._labels)
        self._spelled = lru_cache(REMEMBERED_WORDS)(self._same_spelling)

    @property
    def nbytes(self) -> int:
        """Bytes of memory, roughly."""
        return self._features.nbytes + BYTES_A_LABEL * len(self._labels)

    def nearest(self, image_features: Tensor, k: int) -> list[list[NearLabel]]:
        """The labels and words nearest each image; a word that reads like a label is there once, as the label.

        The k nearest words are enough: each of them that is left out has its label in its place.

        Args:
            image_features: (B, D) of L2 norm 1.
            k: how many; fewer where labels and vocabulary together hold fewer.

        Returns:
            For each image at most k, nearest first.
        """
        cosines, columns = (image_features.cpu().float() @ self._features.T).topk(min(k, len(self._labels)))
        found = self._index.search(image_features, k)
        words = [[word for word in row if _reading(word.word) not in self._readings] for row in found]
        marks = iter(self.same_as([word for row in words for word in row]))
        answers = []
        for similarity, column, row in zip(cosines.tolist(), columns.tolist(), words, strict=True):
            near = [NearLabel(self._labels[c], s, "labels") for s, c in zip(similarity, column, strict=True)]
            near += [NearLabel(word.word, word.similarity, "vocabulary", next(marks)) for word in row]
            answers.append(sorted(near, key=lambda label: -label.similarity)[:k])
        return answers

    def same_as(self, words: Sequence[Neighbour]) -> list[str | None]:
        """The label that each word is another name of, or None.

        It is one if it is spelled like it but for case, hyphens, underscores and plural; if WordNet has both in one synset
        (by the most frequent sense of each); or if the cosine of their text features is at least SAME_COSINE.

        Args:
            words: of the vocabulary, as its search returns them.
        """
        if not words:
            return []
        rows = torch.tensor([word.row for word in words])
        cosines = torch.from_numpy(self._index.store.vectors(rows.numpy())) @ self._features.T
        closest = zip(*(values.tolist() for values in cosines.max(dim=1)), strict=True)
        return [
            self._spelled(word.word)
            or self._synsets.get(_synset(word.metadata))
            or (self._labels[column] if cosine >= SAME_COSINE else None)
            for word, (cosine, column) in zip(words, closest, strict=True)
        ]

    def _same_spelling(self, word: str) -> str | None:
        """The label that holds the word, and is held by it."""
        if not self._overlaps.overlaps(word):
            return None
        holds_word = OverlapFilter([word])
        candidates = (label for label in self._labels if holds_word.overlaps(label))
        return next((label for label in candidates if OverlapFilter([label]).overlaps(word)), None)


def _synset(metadata: Mapping[str, Any]) -> str:
    """WordNet's synset, or nothing: a vocabulary of the user's own may have anything there."""
    synset = metadata.get("synset")
    return synset if isinstance(synset, str) else ""


def _reading(text: str) -> str:
    """Equal for texts that read the same: whatever case, underscores, white space and composition of accents."""
    return unicodedata.normalize("NFC", readable(text)).casefold()
