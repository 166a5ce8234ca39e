"""Text features, kept label by label: two requests that have labels in common encode only what neither has."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import torch

from service.batching.model import Model
from service.classifier import Classifier
from service.label_set import LabelFeatures
from service.labels.kept import Recent

Templates = tuple[str, ...] | None
Key = tuple[bytes, str]  # templates, label
Rows = dict[Key, LabelFeatures]  # of one label each, (D,)
Watch = Callable[[int, int], None]

ROW_BYTES = 2048  # of Python's objects about a row, at most
TEXTS_AT_ONCE = 16  # to tokenise, in one piece of the model's work: a word of 500 letters takes 50 ms


def unwatched(hits: int, misses: int) -> None:
    """Count nothing."""


@dataclass(eq=False)
class _Chunk:
    """Labels that are encoded at once.

    Attributes:
        keys: of the labels.
        rows: when they are done.
        waiting: how many wait for it.
    """

    keys: list[Key]
    rows: asyncio.Future[Rows] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    waiting: int = 0

    async def wait(self) -> Rows:
        """The rows; who is cancelled leaves, and takes nobody along."""
        return await asyncio.shield(self.rows)


class KeptFeatures:
    """Text features of labels of one classifier; each is made once, and kept under a bound of memory.

    Args:
        classifier: that encodes.
        model: whose thread it runs in, a chunk of labels at a time so that images get their turn.
        most_bytes: of all that is kept.
    """

    def __init__(self, classifier: Classifier, model: Model, most_bytes: int) -> None:
        self._classifier, self._model = classifier, model
        self._kept: Recent[LabelFeatures] = Recent(most_bytes)
        self._coming: dict[Key, _Chunk] = {}
        self._encoders: set[asyncio.Task[None]] = set()  # asyncio itself holds tasks weakly
        self.watch: Watch = unwatched

    async def get(self, names: tuple[str, ...], templates: Templates) -> list[LabelFeatures]:
        """Text features of names, one by one, as `Classifier.encode_labels` makes them.

        Args:
            names: readable and different.
            templates: of the caller's own, averaged; None for the tuned prompt.

        Raises:
            InvalidInput: a name does not fit the text tower; nothing is encoded then.
        """
        digest = b"" if templates is None else sha256(repr(templates).encode()).digest()
        keys = [(digest, name) for name in names]
        await self._check([key for key in keys if key not in self._coming and key not in self._kept], templates)
        found: Rows = {}
        missing: list[Key] = []
        chunks: dict[_Chunk, None] = {}  # a set in the order of labels
        for key in keys:
            if (row := self._kept.get(key)) is not None:
                found[key] = row
            elif chunk := self._coming.get(key):
                chunks[chunk] = None
            else:
                missing.append(key)
        self.watch(len(keys) - len(missing), len(missing))
        for rows in await self._all([*chunks, *self._begin(missing, templates)]):
            found |= rows
        return [found[key] for key in keys]

    async def _check(self, keys: list[Key], templates: Templates) -> None:
        """Refuse what cannot be encoded before others can wait for it."""
        size = max(1, TEXTS_AT_ONCE // len(templates or "1"))
        for start in range(0, len(keys), size):
            names = tuple(name for _, name in keys[start : start + size])
            await self._model.run(self._classifier.check_labels, names, templates)

    async def _all(self, chunks: Sequence[_Chunk]) -> list[Rows]:
        for chunk in chunks:
            chunk.waiting += 1
        try:
            return [await chunk.wait() for chunk in chunks]
        finally:
            for chunk in chunks:
                chunk.waiting -= 1

    def _begin(self, missing: list[Key], templates: Templates) -> list[_Chunk]:
        """Begin to encode."""
        size = max(1, self._model.text_chunk // len(templates or "1"))
        chunks = [_Chunk(missing[start : start + size]) for start in range(0, len(missing), size)]
        for chunk in chunks:
            self._coming |= dict.fromkeys(chunk.keys, chunk)
        if chunks:
            encoder = asyncio.ensure_future(self._encode(chunks, templates))
            self._encoders.add(encoder)
            encoder.add_done_callback(self._encoders.discard)
        return chunks

    async def _encode(self, chunks: Sequence[_Chunk], templates: Templates) -> None:
        """Encode one chunk after the other: the next queues when one is done, behind the images that came meanwhile."""
        for chunk in chunks:
            try:
                if not chunk.waiting:  # all have left; what is never asked for again need not be made
                    chunk.rows.cancel()
                    continue
                names = tuple(name for _, name in chunk.keys)
                features = await self._model.run(self._classifier.encode_labels, names, templates)
                rows = dict(zip(chunk.keys, _rows(features), strict=True))
                for key, row in rows.items():
                    self._kept.put(key, row, row.nbytes + sys.getsizeof(key[1]) + ROW_BYTES)
            except Exception as error:  # for those who wait, whatever it is
                chunk.rows.set_exception(error)
                chunk.rows.exception()  # they may have left; asyncio would log it as one that nobody saw
            else:
                chunk.rows.set_result(rows)
            finally:
                for key in chunk.keys:
                    del self._coming[key]


def _rows(features: LabelFeatures) -> list[LabelFeatures]:
    """Each label's own, with memory of its own: a row that is kept must not keep its neighbours."""
    text = [row.clone() for row in features.text]
    if features.zero_shot is features.text:
        return [LabelFeatures(row, row) for row in text]
    return [LabelFeatures(row, other.clone()) for row, other in zip(text, features.zero_shot, strict=True)]


def joined(rows: Sequence[LabelFeatures]) -> LabelFeatures:
    """Features of labels one by one, as one matrix (C, D)."""
    text = torch.stack([row.text for row in rows])
    if all(row.zero_shot is row.text for row in rows):
        return LabelFeatures(text, text)
    return LabelFeatures(text, torch.stack([row.zero_shot for row in rows]))
