"""WordNet 3.0's nouns: the shipped list, and how it was made.

`python -m vocab_index.wordnet /usr/share/wordnet` (Debian's wordnet-base) writes the list again. Its head carries the
licence notice that every copy of WordNet must carry.
"""

from __future__ import annotations

import lzma
import sys
from pathlib import Path

from candor.errors import IntegrityError

SHIPPED = Path(__file__).with_name("wordnet_nouns.txt.xz")


def nouns() -> list[str]:
    """All nouns and noun phrases of WordNet 3.0 as text (capitals kept, underscores as spaces), 117,798 of them."""
    with lzma.open(SHIPPED, "rt", encoding="ascii") as file:
        return [line.rstrip("\n") for line in file if not line.startswith("#")]


def parse(directory: Path) -> tuple[str, list[str]]:
    """Read the database's own files.

    Args:
        directory: holds data.noun and index.noun.

    Returns:
        The licence notice, and a noun a lemma in the spelling of its most frequent sense, in the order of index.noun.

    Raises:
        IntegrityError: a file is missing.
    """
    for name in ("data.noun", "index.noun"):
        if not (directory / name).is_file():
            raise IntegrityError(directory / name, "a WordNet 3.0 file (Debian: wordnet-base)", "nothing")
    data = (directory / "data.noun").read_bytes()
    notice = [line[2:].split(" ", 1)[-1].rstrip() for line in data.decode().splitlines() if line.startswith("  ")]
    words = []
    for line in (directory / "index.noun").read_text().splitlines():
        if not line.startswith("  "):
            fields = line.split()
            first_sense = int(
                fields[6 + int(fields[3])]
            )  # lemma pos synset_cnt p_cnt [symbol]* sense_cnt tagsense_cnt offset
            words.append(_spelling(data, first_sense, fields[0]).replace("_", " "))
    return "\n".join(notice), words


def _spelling(data: bytes, offset: int, lemma: str) -> str:
    """How the synset at a byte offset of data.noun spells a lemma (index.noun has it in lower case)."""
    fields = data[offset : data.index(b"\n", offset)].decode().split()
    spellings = fields[4 : 4 + 2 * int(fields[3], 16) : 2]  # offset lexfile pos w_cnt(hex) {word lex_id}*w_cnt
    return next(word for word in spellings if word.lower() == lemma)


def main() -> None:
    """Write the shipped list."""
    notice, words = parse(Path(sys.argv[1]))
    head = "".join(f"# {line}".rstrip() + "\n" for line in notice.splitlines())
    text = head + "\n".join(words) + "\n"
    SHIPPED.write_bytes(lzma.compress(text.encode("ascii"), preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(words)} nouns, {SHIPPED.stat().st_size} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
