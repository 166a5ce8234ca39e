"""Which entries of a vocabulary are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from candor.errors import InvalidInput
from vocab_index.sources.wordnet import CATEGORIES

# Things that light falls on, and so a photograph can show. Left out are what is only thought, said, felt or counted, and
# sounds of that kind: act, attribute, cognition, communication, feeling, motive, possession, process, quantity, relation,
# state, time, tops. So are group and location, which name bodies of law and shorelines on a map more often than crowds and
# parks. "event" holds weddings and regattas beside bangs and omens, "shape" squares and ringlets beside plane angles.
VISUAL = frozenset(
    ("animal", "artifact", "body", "event", "food", "object", "person", "phenomenon", "plant", "shape", "substance")
)


@dataclass(frozen=True)
class Filter:
    """Keeps the entries of some categories and lengths, and so many of them.

    Categories and names ask only entries whose metadata has a category, as text: WordNet's, and those of a file with such
    a column. An entry without one is kept.

    Attributes:
        categories: which to keep, in lower case; None keeps all.
        instances: whether to keep proper names: entries whose metadata says "instance": true.
        max_words: how many words an entry may have: 1 keeps no phrases; None keeps all.
        limit: how many entries to keep, evenly spread over the vocabulary, which may be in alphabetical order; None keeps
            all.
    """

    categories: frozenset[str] | None = None
    instances: bool = True
    max_words: int | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.categories is not None and not self.categories:
            raise InvalidInput(f"no category to keep; valid: {', '.join(CATEGORIES)}")
        for most, what in ((self.max_words, "words make no entry"), (self.limit, "entries make no vocabulary")):
            if most is not None and most < 1:
                raise InvalidInput(f"at most {most} {what}; valid: 1 or more")

    @property
    def asks(self) -> bool:
        """Whether the answer depends on an entry's metadata."""
        return self.categories is not None or not self.instances

    def keeps(self, word: str, metadata: Mapping[str, Any]) -> bool:
        """Whether an entry is wanted."""
        if self.max_words is not None and len(word.split()) > self.max_words:
            return False
        category = category_of(metadata) if self.asks else None
        if category is None:
            return True
        if not self.instances and str(metadata.get("instance", "")).casefold() == "true":
            return False
        return self.categories is None or category in self.categories

    def check(self, seen: Iterable[str], source: str) -> None:
        """Refuse a filter that the vocabulary has no answer to.

        Args:
            seen: the categories of its entries.
            source: its name.

        Raises:
            InvalidInput: no entry has a category, or the filter names one that neither WordNet nor the vocabulary has.
        """
        there = set(seen)
        if self.asks and not there:
            raise InvalidInput(
                f"vocabulary {source!r} has no categories to filter by; valid: wordnet, or a file with a column 'category'"
            )
        unknown = (self.categories or frozenset()) - there - set(CATEGORIES)
        if unknown:
            raise InvalidInput(
                f"unknown category {', '.join(map(repr, sorted(unknown)))}; {source} has: {', '.join(sorted(there)[:100])}"
            )


def category_of(metadata: Mapping[str, Any]) -> str | None:
    """An entry's category in lower case; None where it has none."""
    category = metadata.get("category")
    return category.strip().casefold() or None if isinstance(category, str) else None
