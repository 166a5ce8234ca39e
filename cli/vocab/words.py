"""What the commands that ask a vocabulary share: the index with its model, and how words are shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from candor.clip.backbone import Backbone
from cli.options import backbone
from vocab_index.index import VocabularyIndex
from vocab_index.manifest import read_manifest

Index = Annotated[Path, typer.Option(help="vocabulary index (candor vocab build)")]
IndexWeights = Annotated[
    str | None, typer.Option(help="weights, where they are no longer where the index says; they must be the same ones")
]

FIRST_COLUMNS = ("category", "gloss")  # of WordNet; other vocabularies have columns of their own
MOST_COLUMNS = 2  # of metadata, so that a gloss still fits beside them; --json has all
MOST_CHARACTERS = 200  # of a cell


def load_index(path: Path, pretrained: str | None, device: str) -> tuple[Backbone, VocabularyIndex]:
    """An index and the model that it was made with.

    Args:
        path: the index directory.
        pretrained: weights to take instead of those that the index names; their digest must be the same.
        device: of the model.

    Raises:
        IntegrityError: the index is damaged, or the weights are others.
    """
    reference = read_manifest(path).backbone
    clip = backbone(reference.model, pretrained or reference.pretrained, device)
    return clip, VocabularyIndex.load(path, clip)


def word_table(rows: Sequence[tuple[Sequence[str], Mapping[str, Any]]], heads: Sequence[str]) -> Table:
    """A row a word, with what the vocabulary knows of it.

    Args:
        rows: the cells under `heads`, the word first, and the word's metadata.
        heads: of the cells before the metadata.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    columns = _columns(metadata for _, metadata in rows)
    for head in (*heads, *columns):
        table.add_column(Text(head), overflow="fold", justify="right" if head == "similarity" else "left")
    for cells, metadata in rows:
        table.add_row(*map(_cell, (*cells, *(metadata.get(column, "") for column in columns))))
    return table


def _columns(known: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The columns of metadata that hold something, at most MOST_COLUMNS."""
    filled = dict.fromkeys(key for metadata in known for key, value in metadata.items() if value not in (None, "", False))
    first = [column for column in FIRST_COLUMNS if column in filled]
    return (*first, *(column for column in filled if column not in first))[:MOST_COLUMNS]


def _cell(value: Any) -> Text:
    """Metadata is a stranger's: as it is, without control characters, and not endless."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    shown = "".join(character if character.isprintable() else " " for character in text)
    return Text(shown if len(shown) <= MOST_CHARACTERS else f"{shown[:MOST_CHARACTERS]}…")
