"""Words: reading a vocabulary, and telling which of its words overlap a class name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from candor.clip.templates import readable
from candor.errors import InvalidInput
from vocab_index import wordnet


@dataclass(frozen=True)
class WordList:
    """A vocabulary.

    Attributes:
        source: "wordnet" or the file's name; several joined by " + ".
        words: distinct words and phrases.
        dropped: why entries were left out -> how many; such as "blank", "repeated", "too long", "filtered".
        metadata: what is known of each word (JSON values); empty, or one mapping a word.
    """

    source: str
    words: tuple[str, ...]
    dropped: Mapping[str, int]
    metadata: Sequence[Mapping[str, Any]] = ()


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
    dropped = {"blank": 0, "repeated": 0}
    for entry in entries:
        word = readable(entry)
        if not word:
            dropped["blank"] += 1
        elif word.casefold() in kept:
            dropped["repeated"] += 1
        else:
            kept[word.casefold()] = word
    if not kept:
        raise InvalidInput(f"vocabulary {source!r} holds no word")
    return WordList(source, tuple(kept.values()), dropped)


PLURALS = (  # ending of a plural -> endings of what it may be the plural of; no -es after a plain consonant: planes, plan
    ("ies", ("y", "ie")),
    ("ives", ("ife",)),
    ("ves", ("f",)),
    ("zzes", ("z",)),
    *((f"{end}es", (end,)) for end in ("s", "x", "z", "ch", "sh", "o")),
)
SHORTEST = 3  # letters of a singular that is guessed: "gas" is not the plural of "ga"


def _tokens(text: str) -> list[str]:
    """Lower-case tokens without hyphens and underscores."""
    return re.findall(r"\w+", text.casefold().replace("_", " "))


@lru_cache(maxsize=65536)
def _singulars(token: str) -> frozenset[str]:
    """The token, and all that it may be the plural of by its spelling; most of these are no words, which does no harm."""
    found = {token[: -len(ending)] + one for ending, ones in PLURALS if token.endswith(ending) for one in ones}
    if token.endswith("s") and not token.endswith("ss"):
        found.add(token[:-1])
    return frozenset({token, *(one for one in found if len(one) >= SHORTEST)})


class OverlapFilter:
    """Tells whether a word contains one of the names as a run of whole tokens, whatever case, hyphen or plural.

    Two tokens are equal where one singular would do for both. A token may be its own singular, or lose -s, -es (behind
    s, x, z, ch, sh, o), or turn -ies into -y or -ie, -ves into -f, -ives into -ife, -zzes into -z. So "bus" equals
    "buses", "cookies" "cookie", and "knives" "knife"; but "glass" does not equal "glas", nor "planes" "plan". "leaves"
    equals "leaf" and "leave", since either may be meant. Missed are plurals that spelling alone does not show (mice;
    axes of an axis), and those of singulars of less than 3 letters (ox).

    Args:
        names: the class names to keep out.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names: dict[str, set[tuple[frozenset[str], ...]]] = {}  # by each singular of the first token
        for name in names:
            if run := tuple(_singulars(token) for token in _tokens(name)):
                for singular in run[0]:
                    self._names.setdefault(singular, set()).add(run)

    def overlaps(self, word: str) -> bool:
        """Whether the word contains a name."""
        tokens = [_singulars(token) for token in _tokens(word)]
        return any(
            _starts_with(tokens[start:], run)
            for start, singulars in enumerate(tokens)
            for singular in singulars
            for run in self._names.get(singular, ())
        )


def _starts_with(tokens: Sequence[frozenset[str]], run: Sequence[frozenset[str]]) -> bool:
    return len(tokens) >= len(run) and not any(map(frozenset.isdisjoint, tokens, run))
