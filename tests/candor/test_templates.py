from __future__ import annotations

import pytest

from candor.clip.templates import check_names, check_template, fill
from candor.errors import InvalidInput


def test_fill_reads_underscores_as_spaces_and_keeps_braces_of_names() -> None:
    assert fill("a photo of a {}.", ["domestic_cat", "a  {0} b"]) == ["a photo of a domestic cat.", "a photo of a a {0} b."]


@pytest.mark.parametrize("template", ["", "a photo", "{} and {}", "a {0}", "a {name}", "{}{", "{!r}"])
def test_a_template_needs_exactly_one_pair_of_braces(template: str) -> None:
    with pytest.raises(InvalidInput, match="exactly once"):
        check_template(template)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no labels"),
        (["cat", " "], "number 2 is empty"),
        (["Red_Cat", "red cat", "dog"], "duplicate labels: 'red cat'"),
    ],
)
def test_impossible_names(names: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_names(names)
