"""What a tokenizer remembers of the words that it has split."""

from __future__ import annotations

MOST_WORDS = 50_000
LONGEST = 40  # characters


class WordCache(dict[str, str]):
    """Takes the first words that come, and no more: callers of a service send new ones without end.

    open_clip's own dictionary keeps every word for ever. Nothing is taken out of this one, so threads need no lock.
    """

    def __setitem__(self, word: str, split: str) -> None:
        if len(self) < MOST_WORDS and len(word) <= LONGEST:
            super().__setitem__(word, split)
