"""Which words overlap a class name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

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
