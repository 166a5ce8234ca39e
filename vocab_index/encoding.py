"""Encoding a vocabulary: every word tokenised once, sorted by length, and cut into shards that are always the same."""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from candor.clip.artifact import library_versions
from candor.clip.backbone import Backbone, Progress, no_progress
from candor.clip.templates import check_template, fill
from candor.errors import InvalidInput
from vocab_index.sources.words import WordList

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
SHARD = 2048  # words encoded and kept at once; a constant, since the last bits of a feature depend on its neighbours
BLOCK = 1024  # words tokenised between two steps of the progress bar
EXAMPLES = 5  # words named for each reason to leave words out
TOO_LONG, NO_TEXT = "too long", "no text"
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 '.-]*")  # surely text to CLIP's tokenizer; spares most words a second look


class TokenTable:
    """Token ids of many texts in one array, 4 bytes each."""

    def __init__(self) -> None:
        self._ids, self._ends = array("i"), array("q", [0])

    def append(self, ids: Sequence[int]) -> None:
        """Add a text."""
        self._ids.extend(ids)
        self._ends.append(len(self._ids))

    def __getitem__(self, row: int) -> Sequence[int]:
        return self._ids[self._ends[row] : self._ends[row + 1]]

    @property
    def lengths(self) -> Rows:
        """Tokens of each text, (N,)."""
        ends: Rows = np.frombuffer(self._ends, np.int64)
        return ends[1:] - ends[:-1]


class Shelf:
    """Where features are put as they are made: in memory here, on disk in `vocab_index.parts`.

    Args:
        shape: (N, D).
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.features: Floats = np.empty(shape, np.float32)

    def has(self, shard: int, rows: Rows) -> bool:  # noqa: ARG002
        """Whether the features of a shard are there, and whole."""
        return False

    def keep(self, shard: int, rows: Rows) -> None:
        """Note that the features of a shard are there."""


@dataclass(frozen=True)
class Encoding:
    """What is to be encoded.

    Attributes:
        words: the words that fit the text tower, with what was left out in `dropped`.
        templates: the prompts that every word is put into.
        left_out: the first few words for each reason that the tower gave to leave words out.
        backbone: encodes them.
        texts: one table of token ids a template.
    """

    words: WordList
    templates: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]
    backbone: Backbone
    texts: tuple[TokenTable, ...] = field(repr=False)

    @classmethod
    def of(
        cls, backbone: Backbone, words: WordList, templates: str | Sequence[str], progress: Progress = no_progress
    ) -> Encoding:
        """Tokenise a vocabulary.

        A word that does not fit the text tower under each of the templates, or that its tokenizer sees no text in, is
        left out and counted as "too long" or "no text".

        Args:
            backbone: gives tokenizer and context length.
            words: the vocabulary.
            templates: one prompt with {}, or several.
            progress: shows blocks of words.

        Raises:
            InvalidInput: no template, one that is not valid or given twice, or no word is left.
        """
        prompts = _checked(backbone, (templates,) if isinstance(templates, str) else tuple(templates))
        tables = tuple(TokenTable() for _ in prompts)
        kept: list[int] = []
        problems: dict[str, list[str]] = {}
        blocks = [range(start, min(start + BLOCK, len(words.words))) for start in range(0, len(words.words), BLOCK)]
        for rows in progress(blocks, "tokenise"):
            for row in rows:
                texts = _token_ids(backbone, words.words[row], prompts)
                if isinstance(texts, str):
                    problems.setdefault(texts, []).append(words.words[row])
                    continue
                kept.append(row)
                for table, ids in zip(tables, texts, strict=True):
                    table.append(ids)
        if not kept:
            counts = ", ".join(f"{len(found)} {reason}" for reason, found in problems.items()) or "it is empty"
            raise InvalidInput(
                f"no word of vocabulary {words.source!r} fits {backbone.name} under {prompts[0]!r}: {counts}"
            )
        examples = {reason: tuple(map(_shown, found[:EXAMPLES])) for reason, found in problems.items()}
        return cls(_subset(words, kept, problems), prompts, examples, backbone, tables)

    @property
    def shards(self) -> tuple[Rows, ...]:
        """Rows of words of like length, each SHARD of them; the last may be smaller."""
        longest = np.max([table.lengths for table in self.texts], axis=0)
        order = np.argsort(longest, kind="stable")
        return tuple(np.split(order, range(SHARD, len(order), SHARD)))

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return len(self.words.words), self.backbone.embed_dim

    @property
    def precision(self) -> str:
        """Of the backbone's weights."""
        dtype = next(self.backbone.model.parameters()).dtype
        return {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, str(dtype))

    @property
    def identity(self) -> dict[str, Any]:
        """All that the bits of the features depend on, for a person to read."""
        return {
            "source": self.words.source,
            "words": len(self.words.words),
            "words_sha256": hashlib.sha256(json.dumps(self.words.words).encode()).hexdigest(),
            "templates": list(self.templates),
            "model": self.backbone.name,
            "backbone_sha256": self.backbone.digest,
            "device": self.backbone.device.type,
            "precision": self.precision,
            "shard": SHARD,
            **library_versions(),
        }

    def run(self, progress: Progress = no_progress, shelf: Shelf | None = None) -> Floats:
        """Encode every shard that is not on the shelf yet.

        Args:
            progress: shows shards; each has as many words as its length says.
            shelf: where features are put, in memory by default.

        Returns:
            Features, (N, D) float32 of L2 norm 1; row i is word i.
        """
        shelf = shelf or Shelf(self.shape)
        shards = self.shards
        numbers = {int(rows[0]): number for number, rows in enumerate(shards)}
        for rows in progress([rows for n, rows in enumerate(shards) if not shelf.has(n, rows)], "encode"):
            shelf.features[rows] = self._encode(rows)
            shelf.keep(numbers[int(rows[0])], rows)
        return shelf.features

    def _encode(self, rows: Rows) -> Floats:
        """normalise(mean over templates of the normalised features), (len(rows), D)."""
        tokens = [self.backbone.frame([table[row] for row in rows.tolist()]) for table in self.texts]
        features = torch.stack([self.backbone.encode_tokens(each) for each in tokens])
        mean = features[0] if len(features) == 1 else F.normalize(features.mean(dim=0), dim=-1)
        if not bool(mean.isfinite().all()):
            word = self.words.words[rows[int((~mean.isfinite()).any(dim=1).int().argmax())]]
            raise InvalidInput(f"{self.backbone.name} in {self.precision} gives {word!r} features that are not finite")
        found: Floats = mean.cpu().numpy()
        return found


def _checked(backbone: Backbone, templates: tuple[str, ...]) -> tuple[str, ...]:
    """Templates that are valid, each given once."""
    if not templates:
        raise InvalidInput("no template given; at least one is needed")
    for place, template in enumerate(templates):
        check_template(template)
        if template in templates[:place]:
            raise InvalidInput(f"template {template!r} is given twice")
        backbone.bpe(template.replace("{}", "x"))
    return templates


def _token_ids(backbone: Backbone, word: str, templates: tuple[str, ...]) -> list[list[int]] | str:
    """A word's token ids under each template, or why it has none."""
    try:
        if not PLAIN.fullmatch(word):
            word.encode()  # half of a surrogate pair, as JSON may hold, is no character
            backbone.bpe(word)  # a template has tokens whether or not the word has
        texts = [backbone.bpe(fill(template, [word])[0]) for template in templates]
    except (InvalidInput, UnicodeEncodeError):
        return NO_TEXT
    return texts if max(map(len, texts)) <= backbone.context_length - 2 else TOO_LONG


def _shown(word: str) -> str:
    """A word as it can be printed and kept as JSON."""
    return word[:80].encode(errors="replace").decode()


def _subset(words: WordList, kept: list[int], problems: Mapping[str, list[str]]) -> WordList:
    """The kept words with their metadata; what was left out is counted."""
    counts = dict(words.dropped)
    for reason, found in problems.items():
        counts[reason] = counts.get(reason, 0) + len(found)
    if len(kept) == len(words.words):
        return replace(words, dropped=counts)
    metadata = [words.metadata[row] for row in kept] if words.metadata else ()
    return replace(words, words=tuple(words.words[row] for row in kept), dropped=counts, metadata=metadata)
