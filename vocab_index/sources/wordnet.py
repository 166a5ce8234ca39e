"""WordNet 3.0's nouns: the shipped table, and how it was made.

`python -m vocab_index.sources.wordnet /usr/share/wordnet` (Debian's wordnet-base) writes the table again. Its head carries
the licence notice that every copy of WordNet must carry. It has a line a synset, with the nouns whose most frequent sense
that synset is, so that a gloss stands there once however many nouns share it.
"""

from __future__ import annotations

import lzma
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from candor.errors import IntegrityError

SHIPPED = Path(__file__).with_name("wordnet_nouns.tsv.xz")
CATEGORIES = (  # WordNet's lexicographer files of nouns, in the order of their numbers
    *("tops", "act", "animal", "artifact", "attribute", "body", "cognition", "communication", "event", "feeling"),
    *("food", "group", "location", "motive", "object", "person", "phenomenon", "plant", "possession", "process"),
    *("quantity", "relation", "shape", "state", "substance", "time"),
)
FIRST_FILE = 3  # the number of "tops"
INSTANCE = "i"  # how the table marks a proper name


class Synset(NamedTuple):
    """A sense of nouns.

    Attributes:
        offset: its place in data.noun, eight digits; WordNet's own name of it.
        category: its lexicographer file, one of `CATEGORIES`.
        hypernym: the first word of the first synset that it is a kind, or an instance, of; "" where there is none.
        instance: whether it is one thing with a proper name.
        gloss: what it means, without examples of use.
        nouns: the spelling of each noun whose most frequent sense it is.
    """

    offset: str
    category: str
    hypernym: str
    instance: bool
    gloss: str
    nouns: tuple[str, ...]

    @classmethod
    def read(cls, line: str) -> Synset:
        """A synset from its line in the table."""
        offset, category, hypernym, instance, gloss, *nouns = line.split("\t")
        return cls(offset, category, hypernym, instance == INSTANCE, gloss, tuple(nouns))

    @property
    def line(self) -> str:
        """Its line in the table."""
        instance = INSTANCE if self.instance else ""
        return "\t".join((self.offset, self.category, self.hypernym, instance, self.gloss, *self.nouns))

    @property
    def metadata(self) -> dict[str, Any]:
        """What a vocabulary tells of its nouns."""
        return {
            "category": self.category,
            "gloss": self.gloss,
            "hypernym": self.hypernym,
            "instance": self.instance,
            "synset": self.offset,
        }


def synsets() -> Iterator[Synset]:
    """The shipped table: every synset that is the most frequent sense of a noun, in the order of data.noun."""
    with lzma.open(SHIPPED, "rt", encoding="ascii") as file:
        for line in file:
            if not line.startswith("#"):
                yield Synset.read(line.rstrip("\n"))


def nouns() -> list[str]:
    """All nouns and noun phrases of WordNet 3.0 as text (capitals kept, underscores as spaces), 117,798 of them."""
    return sorted((noun for synset in synsets() for noun in synset.nouns), key=_lemma)


def entries() -> list[tuple[str, Mapping[str, Any]]]:
    """The nouns in the same order, each with its first sense's metadata; nouns of one synset share one mapping."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for synset in synsets():
        metadata = synset.metadata
        found += [(noun, metadata) for noun in synset.nouns]
    return sorted(found, key=lambda entry: _lemma(entry[0]))


def _lemma(noun: str) -> str:
    """How index.noun writes a noun, and what it is sorted by."""
    return noun.replace(" ", "_").lower()


def parse(directory: Path) -> tuple[str, list[Synset]]:
    """Read the database's own files.

    Args:
        directory: holds data.noun and index.noun.

    Returns:
        The licence notice, and the synsets that are the most frequent sense of a noun, in the order of data.noun.

    Raises:
        IntegrityError: a file is missing.
    """
    for name in ("data.noun", "index.noun"):
        if not (directory / name).is_file():
            raise IntegrityError(directory / name, "a WordNet 3.0 file (Debian: wordnet-base)", "nothing")
    data = (directory / "data.noun").read_text(encoding="ascii").splitlines()
    notice = "\n".join(line[2:].split(" ", 1)[-1].rstrip() for line in data if line.startswith("  "))
    lines = {line[:8]: line for line in data if not line.startswith("  ")}
    lemmas: dict[str, list[str]] = {}
    for line in (directory / "index.noun").read_text(encoding="ascii").splitlines():
        if not line.startswith("  "):
            fields = line.split()  # lemma pos synset_cnt p_cnt [symbol]*p_cnt sense_cnt tagsense_cnt [offset]*synset_cnt
            lemmas.setdefault(fields[6 + int(fields[3])], []).append(fields[0])
    return notice, [_synset(lines, offset, lemmas[offset]) for offset in lines if offset in lemmas]


def _synset(lines: Mapping[str, str], offset: str, lemmas: list[str]) -> Synset:
    """A synset of data.noun.

    Args:
        lines: each synset's line by its offset.
        offset: which.
        lemmas: the nouns whose most frequent sense it is, as index.noun has them: in lower case.
    """
    head, _, gloss = lines[offset].partition(" | ")
    fields, words = head.split(), _words(lines[offset])
    above = fields[5 + 2 * len(words) :]  # behind the words and p_cnt: [symbol offset pos source/target]*p_cnt
    targets = [above[i : i + 3] for i in range(0, len(above), 4)]
    pointers = [(symbol, target) for symbol, target, pos in targets if symbol in ("@", "@i") and pos == "n"]
    return Synset(
        offset=offset,
        category=CATEGORIES[int(fields[1]) - FIRST_FILE],
        hypernym=_words(lines[pointers[0][1]])[0].replace("_", " ") if pointers else "",
        instance=any(symbol == "@i" for symbol, _ in pointers),
        gloss=gloss.partition('; "')[0].strip(),
        nouns=tuple(next(word for word in words if word.lower() == lemma).replace("_", " ") for lemma in lemmas),
    )


def _words(line: str) -> list[str]:
    """The words of a line of data.noun: offset lexfile pos w_cnt(hex) [word lex_id]*w_cnt p_cnt ..."""
    fields = line.partition(" | ")[0].split()
    return fields[4 : 4 + 2 * int(fields[3], 16) : 2]


def main() -> None:
    """Write the shipped table."""
    notice, table = parse(Path(sys.argv[1]))
    head = "".join(f"# {line}".rstrip() + "\n" for line in notice.splitlines())
    text = head + "".join(f"{synset.line}\n" for synset in table)
    smallest = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}  # for text
    SHIPPED.write_bytes(lzma.compress(text.encode("ascii"), filters=[smallest]))
    count = sum(len(synset.nouns) for synset in table)
    print(f"{count} nouns of {len(table)} synsets, {SHIPPED.stat().st_size} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
