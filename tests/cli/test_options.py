"""What the options that several commands share load."""

from __future__ import annotations

from pathlib import Path

import pytest

from candor.errors import InvalidInput
from cli.options import word_list
from glyph_world.vocabulary import phrases


def test_glyphs_are_a_vocabulary_alone_and_among_others(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text("name,price\nred mug,3\n")
    assert word_list("glyphs").words == tuple(phrases())
    merged = word_list([str(path), "glyphs"], label_column="name")
    assert (merged.words, merged.source) == (("red mug", *phrases()), "shop.csv + glyphs")
    assert merged.metadata[0] == {"price": "3"}


def test_options_filter_wordnet() -> None:
    assert (
        len(word_list("wordnet", categories="animal, Artifact,food,plant", instances=False).words) == 47_759
    )  # faiss.md 8.3


def test_a_files_own_categories_are_filtered(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text("label,category\nred mug,Cups\nblue plate,Plates\ngreen mug,cups\nherring,Animal\n")
    assert word_list(str(path), categories="cups , PLATES").words == ("red mug", "blue plate", "green mug")
    assert word_list([str(path)], categories="cups", limit=1).words == ("red mug",)
    assert word_list(str(path), visual=True).words == ("herring",)


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("wordnet", {"visual": True, "categories": "animal"}, "not both"),
        ("wordnet", {"categories": "animol"}, "unknown category 'animol'; wordnet has: act, animal"),
        ("wordnet", {"categories": " , "}, "no category to keep; valid: tops"),
        ("glyphs", {"visual": True}, "'glyphs' has no categories to filter by"),
        ("glyphs", {"max_words": -1}, "at most -1 words"),
        ("glyphs", {"limit": -1}, "at most -1 entries"),
        ("gliphs", {}, "cannot read vocabulary 'gliphs'"),
    ],
)
def test_options_that_do_not_fit(source: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        word_list(source, **arguments)
