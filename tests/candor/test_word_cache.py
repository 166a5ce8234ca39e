"""The tokenizer's memory is bounded, and what it forgets changes nothing."""

from __future__ import annotations

import pytest

import glyph_world
from candor.clip import word_cache
from candor.clip.backbone import load_backbone


def test_a_tokenizer_remembers_some_words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    glyph_world.register()
    clip = load_backbone("glyph-clip", "random")
    remembered = clip.tokenizer.cache
    texts = [f"a umbrella{letter} {letter * 60} {letter}" for letter in "abcdefghij"]
    free = [clip.bpe(text) for text in texts]
    assert "umbrellaa" in remembered
    assert "a" * 60 not in remembered
    monkeypatch.setattr(word_cache, "MOST_WORDS", len(remembered))
    more = [clip.bpe(f"{text} snowman{i}") for i, text in enumerate(texts)]
    assert len(remembered) == word_cache.MOST_WORDS
    assert [clip.bpe(text) for text in texts] == free
    plain = load_backbone("glyph-clip", "random").bpe
    assert [plain(f"{text} snowman{i}") for i, text in enumerate(texts)] == more
