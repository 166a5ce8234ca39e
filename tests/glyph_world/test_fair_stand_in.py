"""What makes the glyph world a fair stand-in for real CLIP: on the reported tasks, zero-shot is hard and calibrated."""

from __future__ import annotations

import numpy as np
import pytest

from candor.clip.backbone import Backbone
from glyph_world.tasks import TASKS
from training.datasets import load_dataset
from training.run import evaluate_zero_shot, prepare


@pytest.mark.slow
def test_zero_shot_is_hard_and_calibrated(glyph_clip: Backbone) -> None:
    results = [evaluate_zero_shot(glyph_clip, prepare(glyph_clip, load_dataset(f"glyphs/{task}"))) for task in TASKS]
    for scope in ("base", "new"):
        figures = [result[scope].figures() for result in results]
        assert 0.45 <= np.mean([f["accuracy"] for f in figures]) <= 0.75
        assert np.mean([f["ece"] for f in figures]) <= 0.06
        assert [f["text_deviation"] for f in figures] == pytest.approx([0] * len(TASKS), abs=1e-6)
