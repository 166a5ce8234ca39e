"""A run that is stopped at any instant and goes on ends with the same bits as one that never stopped."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from candor.clip import ContextLearner, LearnerConfig, tokenize_names
from candor.clip.backbone import Backbone
from candor.errors import IntegrityError, InvalidInput
from training.checkpoint import Checkpoint, discard_checkpoint, load_checkpoint, save_checkpoint
from training.config import TrainConfig
from training.loop import CachedViews, Resume, TrainingData, train

NAMES = ("red sun", "blue sun", "green sun")
CPU = torch.device("cpu")


class Stopped(Exception):
    pass


@pytest.mark.parametrize("settings", [{}, {"optimiser": "adam"}, {"autocast": "fp16"}, {"momentum": 0.0}])
def test_every_optimiser_goes_on_to_the_same_bits(tiny_clip: Backbone, tmp_path: Path, settings: dict[str, object]) -> None:
    zero_shot = tiny_clip.encode_text(NAMES)
    features = torch.nn.functional.normalize(zero_shot.repeat(4, 1)[:, None] + 0.05 * torch.randn(12, 2, 64), dim=-1)
    names = tokenize_names(tiny_clip, NAMES, 4)
    data = TrainingData(CachedViews(features), torch.arange(3).repeat(4), names, zero_shot, (zero_shot, torch.arange(3)))
    config = TrainConfig(epochs=6, batch_size=4, learning_rate=0.1, **settings)

    def run(resume: Resume | None, stop_after: int | None = None) -> tuple[torch.Tensor, list[dict[str, float]]]:
        def on_epoch(epoch: int, _: dict[str, float]) -> None:
            if epoch == stop_after:
                raise Stopped

        torch.manual_seed(3)
        learner = ContextLearner.create(LearnerConfig(n_ctx=4), tiny_clip, NAMES)
        return learner.ctx, train(tiny_clip, learner, data, {}, config, on_epoch, resume)

    whole = run(None)
    resume = Resume(tmp_path / "a" / "checkpoint.safetensors", "one run")
    for stop in (0, 3):
        with pytest.raises(Stopped):
            run(resume, stop)
    ctx, history = run(resume)
    assert torch.equal(ctx, whole[0])
    assert history == whole[1]


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    assert load_checkpoint(path, "a", CPU) is None
    saved = Checkpoint(2, {"learner.ctx": torch.arange(3.0)}, [{"loss": 0.1}, {"loss": 1 / 3}])
    save_checkpoint(path, "a", saved)
    found = load_checkpoint(path, "a", CPU)
    assert (found.epoch, found.history, found.tensors["learner.ctx"].tolist()) == (2, saved.history, [0, 1, 2])
    with pytest.raises(InvalidInput, match="of another run"):
        load_checkpoint(path, "b", CPU)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(IntegrityError, match="remove it to start again"):
        load_checkpoint(path, "a", CPU)


def test_a_discarded_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, "a", Checkpoint(1, {"ctx": torch.zeros(1)}, []))
    path.with_name("checkpoint.safetensors.draft").write_bytes(b"half")
    for _ in range(2):  # nothing there is nothing to do
        discard_checkpoint(path)
        assert not any(tmp_path.iterdir())


def digests(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("ash", "birch", "cedar", "dogwood"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(80):
            picture = Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8))
            picture.save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path / "pictures"


def tune(pictures: Path, out: Path, cache: Path, *more: str) -> subprocess.Popen[bytes]:
    options = ["--method", "kgcoop", "--dataset", "imagefolder", "--root", str(pictures), "--epochs", "150"]
    with out.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("candor")), "tune", *options, "--out", str(out), *more],
            env=os.environ | {"CANDOR_CACHE": str(cache)},
            stdout=log,
            stderr=log,
        )


def kill_when(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None and not ready():
        time.sleep(0.01)
    assert process.poll() is None, log.read_text()
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_three_kills_change_no_bit_of_the_artifact(pictures: Path, tmp_path: Path) -> None:
    """SIGKILL while images are encoded, and twice in training; both ways start with an empty cache of their own."""
    log, cache = tmp_path / "killed.log", tmp_path / "cache-2"
    assert tune(pictures, tmp_path / "whole", tmp_path / "cache-1").wait() == 0, (tmp_path / "whole.log").read_text()
    checkpoint = tmp_path / "killed.partial" / "checkpoint.safetensors"
    kill_when(tune(pictures, tmp_path / "killed", cache, "--resume"), lambda: any(cache.rglob("*")), log)
    assert not checkpoint.exists()
    for epochs in (10, 60):
        process = tune(pictures, tmp_path / "killed", cache, "--resume")
        kill_when(process, lambda least=epochs: checkpoint.exists() and epochs_done(checkpoint) >= least, log)
    assert epochs_done(checkpoint) < 150
    assert not (tmp_path / "killed").exists()
    assert tune(pictures, tmp_path / "killed", cache, "--resume").wait() == 0, log.read_text()
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
    assert not checkpoint.parent.exists()


def epochs_done(checkpoint: Path) -> int:
    with safe_open(checkpoint, "pt") as file:
        return int(file.metadata()["epoch"])
