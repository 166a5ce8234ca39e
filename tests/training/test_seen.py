"""Images that a prompt was tuned on are known by content, whatever becomes of their folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from candor.clip import load_artifact
from cli.main import app
from training.datasets import image_sample, load_dataset
from training.seen import digests_of, unseen

runner = CliRunner()


def test_digests_by_hand(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    expected = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    samples = [image_sample(0, tmp_path / "a.png"), image_sample(0, tmp_path / "missing.png")]
    assert digests_of(samples) == (expected,)
    drawn = load_dataset("glyphs/things").train[:2]
    assert len(set(digests_of(drawn))) == 2


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """A folder of pictures that an artifact was tuned on, and that got one picture more a class since."""
    root = tmp_path / "pictures"
    rng = np.random.default_rng(0)
    for name in ("ash", "birch", "cedar", "dogwood"):
        (root / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(root / name / f"{i:02}.png")
    options = ["--dataset", "imagefolder", "--root", str(root), "--method", "kgcoop", "--shots", "4", "--epochs", "1"]
    result = runner.invoke(app, ["tune", *options, "--out", str(tmp_path / "a")])
    assert result.exit_code == 0, result.output
    for name in ("ash", "birch", "cedar", "dogwood"):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(root / name / "05b.png")
    return root


def test_a_changed_folder_does_not_pass_shots_off_as_unseen(tuned: Path, tmp_path: Path) -> None:
    artifact, dataset = load_artifact(tmp_path / "a"), load_dataset("imagefolder", tuned)
    assert len(artifact.config.shots) == 8
    leaked = [s for s in dataset.test if digests_of([s])[0] in artifact.config.shots]
    assert leaked, "the split did not move; choose another file name"
    assert [s for s in dataset.test if s not in leaked] == unseen(artifact, dataset.test)
    warned = runner.invoke(app, ["evaluate", str(tmp_path / "a"), "--dataset", "imagefolder", "--root", str(tuned)])
    assert warned.exit_code == 0, warned.output
    assert f"tuned on {len(leaked)} of the test images" in " ".join(warned.stderr.split())
    command = ["calibrate", str(tmp_path / "a"), "--dataset", "imagefolder", "--root", str(tuned), "--kind", "none"]
    calibrated = runner.invoke(app, [*command, "--out", str(tmp_path / "b")])
    assert calibrated.exit_code == 0, calibrated.output
    assert "which the prompt was tuned on" in " ".join(calibrated.stderr.split())
