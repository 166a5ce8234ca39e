"""What TensorBoard shows of a run is what the run measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from candor.clip import ContextLearner, LearnerConfig, tokenize_names
from candor.clip.backbone import Backbone
from training.config import TrainConfig
from training.loop import CachedViews, TrainingData, train
from training.regularizers import KgCoOp
from training.tensorboard import scalars

NAMES = ("red sun", "blue sun", "green sun")


def read(directory: Path) -> dict[str, dict[int, float]]:
    """Each scalar's values by step."""
    events = EventAccumulator(str(directory))
    events.Reload()
    return {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}


def test_every_figure_of_every_epoch(tiny_clip: Backbone, tmp_path: Path) -> None:
    zero_shot = tiny_clip.encode_text(NAMES)
    names, labels = tokenize_names(tiny_clip, NAMES, 4), torch.arange(3)
    data = TrainingData(CachedViews(zero_shot[:, None]), labels, names, zero_shot, (zero_shot, labels))
    learner = ContextLearner.create(LearnerConfig(n_ctx=4), tiny_clip, NAMES)
    with scalars(tmp_path / "events") as log:
        history = train(tiny_clip, learner, data, {"kgcoop": (8.0, KgCoOp())}, TrainConfig(epochs=3), log)
    written = read(tmp_path / "events")
    assert set(written) == {
        "cross_entropy_loss",
        "kgcoop_loss",
        "learning_rate",
        "fd",
        "text_deviation",
        "val_accuracy",
        "val_ece",
    }
    for name, values in written.items():
        expected = {epoch + 1: figures[name] for epoch, figures in enumerate(history)}
        assert values == pytest.approx(expected, rel=1e-6)  # event files hold float32


def test_a_resumed_run_shows_the_newest_values(tmp_path: Path) -> None:
    with scalars(tmp_path) as log:
        log(0, {"fd": 0.5})
    with scalars(tmp_path) as log:
        log(0, {"fd": 0.5})
        log(1, {"fd": 0.25})
    assert read(tmp_path) == {"fd": {1: 0.5, 2: 0.25}}


def test_nothing_is_written_where_nobody_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with scalars(None) as log:
        log(0, {"fd": 0.5})
    assert list(tmp_path.iterdir()) == []
