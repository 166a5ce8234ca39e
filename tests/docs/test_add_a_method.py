"""The page "Add a method" is true: its class, its line, its test and its command work as they are written there."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize
from typer.testing import CliRunner

from candor.clip import LEARNERS, load_artifact
from candor.clip.backbone import Backbone
from cli.main import app
from training.config import TrainConfig
from training.data import ImageDataset
from training.loop import CachedViews
from training.regularizers import REGULARIZERS
from training.run import Features, Shots, tune

PAGE = Path(__file__).parents[2] / "docs" / "add-a-method.md"
NAME = "orthogonality"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def page() -> Iterator[dict[str, Any]]:
    """What the page's python blocks define; its line is taken out of the registry again."""
    namespace: dict[str, Any] = {"__name__": "add_a_method"}
    before = dict(REGULARIZERS)
    try:
        exec(compile("\n\n".join(blocks("python")), str(PAGE), "exec"), namespace)
        assert set(REGULARIZERS) - set(before) == {NAME}
        yield namespace
    finally:
        REGULARIZERS.clear()
        REGULARIZERS.update(before)


def test_its_own_test_passes(page: dict[str, Any]) -> None:
    tests = [value for name, value in page.items() if name.startswith("test_") and inspect.isfunction(value)]
    assert [test.__name__ for test in tests] == ["test_orthogonality_by_hand"]
    tests[0]()


def test_two_epochs(tiny_clip: Backbone, page: dict[str, Any]) -> None:
    """The term is in the loss with its weight, and moves the context its way."""
    names = ("red sun", "blue sun", "green sun", "old anchor", "cat", "dog")
    dataset = ImageDataset("made-up", names, "a {}.", (), ())
    zero_shot = tiny_clip.encode_text([f"a {name}." for name in names[:3]])
    features = normalize(zero_shot.repeat(4, 1) + 0.05 * torch.randn(12, tiny_clip.embed_dim), dim=-1)
    labels = torch.arange(3).repeat(4)
    shots = Shots(CachedViews(features[:, None]), labels, (features[:0], labels[:0]))
    config = TrainConfig(epochs=2, batch_size=6, warmup_lr=0.1, learning_rate=0.1, weights={NAME: 5.0})
    tuned = tune(tiny_clip, dataset, Features({}, {"base": zero_shot}), shots, f"coop+{NAME}", config)
    first, second = (figures[f"{NAME}_loss"] for figures in tuned.history)
    assert 0 < second < first <= 5
    config = config.model_copy(update={"weights": {}})
    plain = tune(tiny_clip, dataset, Features({}, {"base": zero_shot}), shots, "coop", config)
    assert f"{NAME}_loss" not in plain.history[0]
    assert not torch.equal(plain.learner.ctx, tuned.learner.ctx)


def test_its_command(page: dict[str, Any], tmp_path: Path) -> None:
    for number in range(16):
        path = tmp_path / "images" / "abcd"[number % 4] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (16 * number, 0, 99)).save(path)
    (command,) = [shlex.split(block) for block in blocks("bash")]
    assert command[:2] == ["candor", "tune"]
    (recipe,) = blocks("yaml")
    (tmp_path / "mine.yaml").write_text(recipe)
    command[command.index("--out") + 1] = str(tmp_path / "artifact")
    options = ["--epochs", "2", "--shots", "1", "--config", str(tmp_path / "mine.yaml")]
    options += ["--dataset", "imagefolder", "--root", str(tmp_path / "images")]
    result = CliRunner().invoke(app, [*command[1:], *options])
    assert result.exit_code == 0, result.output
    artifact = load_artifact(tmp_path / "artifact")
    assert artifact.config.method == f"coop+{NAME}"
    assert artifact.config.regularizers == {NAME: 0.5}
    assert f"{NAME}_loss" in (tmp_path / "artifact" / "report" / "history.json").read_text()


def test_what_it_names_is_there() -> None:
    text = PAGE.read_text()
    root = PAGE.parents[1]
    paths = re.findall(r"`((?:training|candor|tests)/[\w/.]+)`", text)
    assert len(paths) > 4
    new = f"training/regularizers/{NAME}.py"  # what the newcomer writes
    assert [path for path in paths if not (root / path).exists()] == [new]
    links = re.findall(r"\]\((\w+\.md)", text)
    assert [link for link in links if not (PAGE.parent / link).is_file()] == []
    assert list(LEARNERS) == ["context"]  # the page says that there is one, and calls it the example
    assert NAME not in REGULARIZERS
