"""Encoding a vocabulary: the right features, in fixed shards, and what the text tower cannot read left out and counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from vocab_index import encoding as module
from vocab_index.encoding import Encoding, Shelf
from vocab_index.index import VocabularyIndex
from vocab_index.sources.words import WordList

LONG = "x " * 80


def _list(*words: str, **facts: Any) -> WordList:
    return WordList("things", words, {"blank": 1, "too long": 2}, **facts)


def _reference(clip: Backbone, texts: list[str]) -> torch.Tensor:
    """open_clip's own encoder on all 77 positions."""
    with torch.no_grad():
        tokens = open_clip.get_tokenizer(clip.name)(texts)
        return F.normalize(clip.model.encode_text(tokens).double(), dim=-1)


def test_rows_are_words_whatever_their_length(tiny_clip: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD", 3)
    words = _list("an umbrella of three colours", "sun", "small dog", "anchor", "!", "ice cream cone", "cat")
    encoding = Encoding.of(tiny_clip, words, "a photo of a {}.")
    lengths = [int((open_clip.get_tokenizer("glyph-clip")(word) != 0).sum()) for word in words.words]
    order = [row for shard in encoding.shards for row in shard.tolist()]
    assert [len(shard) for shard in encoding.shards] == [3, 3, 1]
    assert sorted(order) == list(range(7))
    assert [lengths[row] for row in order] == sorted(lengths)
    expected = _reference(tiny_clip, [f"a photo of a {word}." for word in words.words])
    np.testing.assert_allclose(encoding.run(), expected, atol=2e-6)


def test_several_templates_are_averaged_and_normalised(tiny_clip: Backbone) -> None:
    templates = ["a {}.", "many {}s", "{}"]
    words = ("cat", "small dog")
    found = Encoding.of(tiny_clip, _list(*words), templates).run()
    each = np.stack([_reference(tiny_clip, [template.replace("{}", word) for word in words]) for template in templates])
    mean = np.array([[np.mean([each[t, w, d] for t in range(3)]) for d in range(each.shape[2])] for w in range(2)])
    np.testing.assert_allclose(found, mean / np.sqrt((mean**2).sum(axis=1, keepdims=True)), atol=2e-6)


def test_what_the_tower_cannot_read_is_left_out_and_counted(tiny_clip: Backbone) -> None:
    words = ("cat", LONG, "&nbsp;", "\ud800", "<end_of_text>", "\x1b[0m", "dog", "y " * 74, "☃")
    rows = [{"row": row} for row in range(len(words))]
    encoding = Encoding.of(tiny_clip, _list(*words, metadata=rows), ["{}", "a {}."])
    assert encoding.words.words == ("cat", "dog", "☃")
    assert list(encoding.words.metadata) == [{"row": 0}, {"row": 6}, {"row": 8}]
    assert encoding.words.dropped == {"blank": 1, "too long": 4, "no text": 4}
    assert encoding.left_out == {
        "too long": (LONG[:80], ("y " * 74)[:80]),
        "no text": ("&nbsp;", "?", "<end_of_text>", "\x1b[0m"),
    }
    assert len(Encoding.of(tiny_clip, _list("y " * 74), "{}").words.words) == 1  # it fits without the template's words


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ([], "no template given"),
        (["a {}.", "a {}."], "'a {}.' is given twice"),
        (["none"], "must hold {} exactly once"),
        (["<start_of_text> {}"], "control token"),
        ([LONG + "{}"], "no word of vocabulary 'things' fits glyph-clip"),
    ],
)
def test_templates_that_cannot_be_used(tiny_clip: Backbone, templates: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Encoding.of(tiny_clip, _list("cat"), templates)


def test_bits_do_not_depend_on_what_is_on_the_shelf(tiny_clip: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD", 4)
    words = _list(*(f"{'very ' * (n % 5)}old number {n}" for n in range(30)))
    encoding = Encoding.of(tiny_clip, words, "a {}.")
    whole = encoding.run()

    class Half(Shelf):
        def __init__(self) -> None:
            self.features = np.where(np.isin(np.arange(30), np.concatenate(encoding.shards[::2]))[:, None], whole, np.nan)
            self.kept: list[int] = []

        def has(self, shard: int, rows: np.ndarray) -> bool:
            return shard % 2 == 0

        def keep(self, shard: int, rows: np.ndarray) -> None:
            self.kept.append(shard)

    shelf = Half()
    np.testing.assert_array_equal(encoding.run(shelf=shelf), whole)
    assert shelf.kept == [1, 3, 5, 7]


def test_progress_counts_every_word_once(tiny_clip: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD", 4)
    monkeypatch.setattr(module, "BLOCK", 7)
    seen: dict[str, int] = {}

    def progress(steps: Iterable[Any], description: str) -> Iterator[Any]:
        for step in steps:
            yield step
            seen[description] = seen.get(description, 0) + len(step)

    VocabularyIndex.build(tiny_clip, _list(*(f"number {n}" for n in range(30))), "a {}.", progress)
    assert seen == {"tokenise": 30, "encode": 30}


def test_a_model_that_overflows_is_named(tiny_clip: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(tokens: torch.Tensor) -> torch.Tensor:
        return torch.full((len(tokens), 64), float("nan"))

    monkeypatch.setattr(Backbone, "encode_tokens", lambda self, tokens: broken(tokens))
    with pytest.raises(InvalidInput, match="glyph-clip in fp32 gives 'cat' features that are not finite"):
        Encoding.of(tiny_clip, _list("cat"), "a {}.").run()


def test_the_identity_names_all_that_the_bits_depend_on(tiny_clip: Backbone, glyph_clip: Backbone) -> None:
    first = Encoding.of(tiny_clip, _list("cat", "dog"), "a {}.").identity
    assert first == Encoding.of(tiny_clip, _list("cat", "dog"), "a {}.").identity
    others = [
        Encoding.of(tiny_clip, _list("dog", "cat"), "a {}."),
        Encoding.of(tiny_clip, _list("cat", "dog"), "the {}."),
        Encoding.of(glyph_clip, _list("cat", "dog"), "a {}."),
    ]
    differing = [{name for name, value in other.identity.items() if value != first[name]} for other in others]
    assert differing == [{"words_sha256"}, {"templates"}, {"backbone_sha256"}]
