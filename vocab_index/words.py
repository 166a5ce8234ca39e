"""Words: reading a vocabulary, and telling which of its words overlap a class name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from candor.clip.templates import readable
from candor.errors import InvalidInput
from vocab_index import wordnet


@dataclass(frozen=True)
class WordList:
    """A vocabulary.

    Attributes:
        source: "wordnet" or the file's name.
        words: distinct words and phrases.
        dropped: how many entries were blank or repeated another one (in case, underscore or white space).
    """

    source: str
    words: tuple[str, ...]
    dropped: int


def load_words(source: str) -> WordList:
    """Read a vocabulary.

    Args:
        source: "wordnet", or the path of a UTF-8 text file with a word or phrase a line.

    Raises:
        InvalidInput: no such file, not UTF-8 text, or no word in it.
    """
    if source == "wordnet":
        return collect("wordnet", wordnet.nouns())
    path = Path(source)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InvalidInput(f"cannot read vocabulary {source!r}: {problem}; valid: 'wordnet' or a text file") from error
    return collect(path.name, lines)


def collect(source: str, entries: Iterable[str]) -> WordList:
    """A word list of any entries; the first spelling of each is kept."""
    kept: dict[str, str] = {}
    total = 0
    for entry in entries:
        total += 1
        word = readable(entry)
        if word:
            kept.setdefault(word.casefold(), word)
    if not kept:
        raise InvalidInput(f"vocabulary {source!r} holds no word")
    return WordList(source, tuple(kept.values()), total - len(kept))


def _tokens(text: str) -> tuple[str, ...]:
    """Lower-case tokens without hyphens, underscores and plural endings."""
    return tuple(_singular(token) for token in re.findall(r"\w+", text.casefold().replace("_", " ")))


def _singular(token: str) -> str:
    if len(token) > 4 and token.endswith("ies"):
        return token[:-3] + "y"
    if len(token) > 4 and token.endswith(("ches", "shes", "sses", "xes")):
        return token[:-2]
    if len(token) > 3 and token.endswith("s") and not token.endswith(("ss", "us", "is")):
        return token[:-1]
    return token


class OverlapFilter:
    """Tells whether a word contains one of the names as a run of whole tokens, whatever case, hyphen or plural.

    Args:
        names: the class names to keep out.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._runs = {_tokens(name) for name in names} - {()}
        self._lengths = sorted({len(run) for run in self._runs})

    def overlaps(self, word: str) -> bool:
        """Whether the word contains a name."""
        tokens = _tokens(word)
        return any(
            tokens[start : start + length] in self._runs
            for length in self._lengths
            for start in range(len(tokens) - length + 1)
        )
