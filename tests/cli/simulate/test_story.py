"""The story's end."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from cli.simulate.story import Story


def test_alerts_that_are_over_are_seen_to_be_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """`checks` takes an alert that was there in the last two seconds for one that still fires."""
    slept: list[float] = []

    def wait(_: Story, happened: Callable[[], bool]) -> bool:
        return not slept and happened()

    monkeypatch.setattr("cli.simulate.story.time.sleep", slept.append)
    monkeypatch.setattr(Story, "_wait", wait)
    monkeypatch.setattr(Story, "_has_ece", lambda *_: True)
    monkeypatch.setattr(Story, "_pass", lambda *_: True)
    monkeypatch.setattr(Story, "_fires", lambda *_: False)
    story = Story(SimpleNamespace(healed_tag="healed"), SimpleNamespace(), lambda _: None)  # type: ignore[arg-type]
    assert story._heal()
    assert sum(slept) > 2
