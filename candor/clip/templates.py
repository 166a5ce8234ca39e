"""Class names and hand-written templates, as texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from candor.errors import InvalidInput

DEFAULT_TEMPLATE = "a photo of a {}."


def check_template(template: str) -> str:
    """A template unchanged.

    Raises:
        InvalidInput: it does not hold `{}` exactly once.
    """
    if template.count("{}") != 1 or "{" in template.replace("{}", "") or "}" in template.replace("{}", ""):
        raise InvalidInput(f"template {template!r} must hold {{}} exactly once, where the label goes, and no other brace")
    return template


def fill(template: str, names: Sequence[str]) -> list[str]:
    """One text a name: the template with the readable name in it."""
    check_template(template)
    return [template.replace("{}", readable(name)) for name in names]


def readable(name: str) -> str:
    """A class name as text: underscores become spaces, and runs of white space one space."""
    return " ".join(name.replace("_", " ").split())


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Class names, as readable text.

    Raises:
        InvalidInput: no name, an empty one, or two that read the same.
    """
    texts = tuple(readable(name) for name in names)
    if not texts:
        raise InvalidInput("no labels given; at least one is needed")
    if any(not text for text in texts):
        raise InvalidInput(f"label number {texts.index('') + 1} is empty")
    twice = [text for text, count in Counter(text.casefold() for text in texts).items() if count > 1]
    if twice:
        raise InvalidInput(f"duplicate labels: {', '.join(repr(text[:80]) for text in twice[:10])}")
    return texts
