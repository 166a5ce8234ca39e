"""Commands as the simulation gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from candor.errors import CandorError
from cli.simulate.deployment import candor


@pytest.mark.slow
def test_a_command_that_fails_ends_the_simulation_and_says_why_itself(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CandorError, match="candor tune ended with exit code 2"):
        candor(tmp_path, "tune", "--out", "here", "--dataset", "glyphs/dogs", "--method", "coop")
    said = capfd.readouterr().err
    assert "$ candor tune --out here" in said
    assert "unknown glyph task 'dogs'" in said
    assert list(tmp_path.iterdir()) == []
