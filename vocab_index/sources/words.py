"""A vocabulary: words of any source, each once."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from candor.clip.templates import readable
from candor.errors import InvalidInput
from vocab_index.sources import wordnet
from vocab_index.sources.files import Entry, read_file
from vocab_index.sources.filters import Filter, category_of

LONGEST_WORD = 200  # characters; a text tower reads some 70 tokens, and WordNet's longest noun has 71 characters
ALL = Filter()


@dataclass(frozen=True)
class WordList:
    """A vocabulary.

    Attributes:
        source: "wordnet" or the file's name; several joined by " + ".
        words: distinct words and phrases.
        dropped: why entries were left out -> how many: "blank", "repeated", "too long", "filtered", "over the limit".
        metadata: what is known of each word (JSON values); empty, or one mapping a word.
    """

    source: str
    words: tuple[str, ...]
    dropped: Mapping[str, int]
    metadata: Sequence[Mapping[str, Any]] = ()


def load_words(
    sources: str | Sequence[str],
    wanted: Filter = ALL,
    label_column: str = "label",
    known: Mapping[str, Iterable[str]] | None = None,
) -> WordList:
    """Read a vocabulary from one source or several.

    Args:
        sources: each "wordnet", a name in `known`, or the path of a file (`sources.files.read_file`). A word that
            several have is kept where it comes first, with that source's metadata.
        wanted: which entries to keep.
        label_column: the column of a CSV or TSV file, or the key of a JSON lines file, that holds the words.
        known: further vocabularies by name.

    Raises:
        InvalidInput: no source, one that cannot be read, a filter that does not fit, or no word in them.
    """
    names = [sources] if isinstance(sources, str) else list(sources)
    if not names:
        raise InvalidInput("no vocabulary given; valid: 'wordnet', or a file")
    found: list[Iterable[Entry]] = []
    for name in names:
        if name == "wordnet":
            found.append(wordnet.entries())
        elif known and name in known:
            found.append(_bare(known[name]))
        else:
            found.append(read_file(Path(name), label_column))
    shown = " + ".join(name if known and name in known else Path(name).name for name in names)
    return _merge(shown, chain.from_iterable(found), wanted)


def collect(source: str, entries: Iterable[str]) -> WordList:
    """A word list of any entries; the first spelling of each is kept."""
    return _merge(source, _bare(entries), ALL)


def _bare(words: Iterable[str]) -> Iterator[Entry]:
    """Entries of which nothing else is known."""
    return ((word, {}) for word in words)


def _merge(source: str, entries: Iterable[Entry], wanted: Filter) -> WordList:
    """Each word once, whatever its case, white space, underscores and Unicode form.

    What is filtered out does not count as there: a later entry of the same word may be kept.
    """
    kept: dict[str, Entry] = {}
    dropped = Counter({"blank": 0, "repeated": 0, "too long": 0, "filtered": 0, "over the limit": 0})
    categories: set[str] = set()
    for entry, metadata in entries:
        word = unicodedata.normalize("NFC", readable(entry))
        if category := category_of(metadata):
            categories.add(category)
        if why := _problem(word, metadata, wanted):
            dropped[why] += 1
        elif word.casefold() in kept:
            dropped["repeated"] += 1
        else:
            kept[word.casefold()] = (word, metadata)
    wanted.check(categories, source)
    if not kept:
        reasons = ", ".join(f"{count} {why}" for why, count in dropped.items() if count)
        raise InvalidInput(f"vocabulary {source!r} holds no word{reasons and f' ({reasons})'}")
    chosen = _spread(list(kept.values()), wanted.limit)
    dropped["over the limit"] = len(kept) - len(chosen)
    metadata_of = [metadata for _, metadata in chosen]
    return WordList(source, tuple(word for word, _ in chosen), dict(dropped), metadata_of if any(metadata_of) else ())


def _spread(entries: list[Entry], limit: int | None) -> list[Entry]:
    """At most so many entries, evenly spread: the first ones of an alphabet would be an odd vocabulary."""
    if limit is None or limit >= len(entries):
        return entries
    return [entries[place * len(entries) // limit] for place in range(limit)]


def _problem(word: str, metadata: Mapping[str, Any], wanted: Filter) -> str | None:
    if not word:
        return "blank"
    if len(word) > LONGEST_WORD:
        return "too long"
    return None if wanted.keeps(word, metadata) else "filtered"
