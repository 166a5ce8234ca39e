"""Both ways of taking a step compute the same, and the bench notices where they do not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from candor.clip.backbone import Backbone
from cli.main import app
from training.bench.measure import Measured, Setting
from training.bench.report import StepFigures, TrainFigures, bench_train
from training.bench.steps import CLASSNAMES, make_task, shared, straightforward

SETTING = Setting("glyph-clip", "cpu", n_ctx=4, classes=6, batch=3, dor=False, repeats=1)


@pytest.mark.parametrize("n_ctx", [16, 4])
@pytest.mark.parametrize("dor", [False, True])
def test_losses_and_gradients_are_equal(tiny_clip: Backbone, n_ctx: int, dor: bool) -> None:
    task = make_task(tiny_clip, n_ctx, classes=8, batch=4)
    slow = straightforward(task, dor)()
    expected = task.learner.ctx.grad.clone()
    fast = shared(task, dor)()
    assert fast.item() == pytest.approx(slow.item(), rel=1e-4)
    assert (task.learner.ctx.grad - expected).norm() < 1e-4 * expected.norm()


def test_a_task_repeats(tiny_clip: Backbone) -> None:
    first, again = (make_task(tiny_clip, 4, classes=60, batch=2) for _ in range(2))
    assert first.classnames == again.classnames
    assert first.classnames[:50] == CLASSNAMES
    assert len(set(first.classnames)) == len(set(first.outliers)) == 60
    assert torch.equal(first.pixels, again.pixels)
    assert torch.equal(first.learner.ctx, again.learner.ctx)


def test_ratios_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(kind: str, setting: Setting) -> Measured:
        seconds = (0.75 if setting.dor else 0.5) * (1 if kind == "shared" else 12)
        loss, gradient = (2.0, [3.0, 4.0]) if kind == "straightforward" else (2.002, [3.0, 4.05])
        return Measured(seconds, loss, np.array(gradient, np.float32), 10)

    monkeypatch.setattr("training.bench.report.measure_step", measured)
    monkeypatch.setattr("training.bench.report.measure_epochs", lambda _: (0.5, 4.0))
    done: list[str] = []
    figures = bench_train(SETTING, [16, 4], done.append)
    assert len(done) == 9
    step = figures.steps[0]
    assert (step.n_ctx, step.speedup, step.dor_extra) == (16, 12.0, 0.5)
    assert step.loss_difference == pytest.approx(0.001)
    assert step.gradient_difference == pytest.approx(0.01, rel=1e-3)
    assert not step.equal
    assert figures.epoch_speedup == 8.0
    assert figures.document()["equal"] is False


def test_the_command_fails_where_results_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    good = StepFigures(4, 6.0, 0.5, 0.75, 12.0, 0.5, 2_000_000, 1_000_000, 1e-6, 1e-5)
    figures = TrainFigures(SETTING, (good,), 0.5, 4.0)
    monkeypatch.setattr("cli.bench.train.bench_train", lambda *_: figures)
    shown = CliRunner().invoke(app, ["bench", "train", "--n-ctx", "4"])
    assert shown.exit_code == 0
    assert "12.0" in shown.output
    bad = replace(figures, steps=(replace(good, gradient_difference=1e-3),))
    monkeypatch.setattr("cli.bench.train.bench_train", lambda *_: bad)
    failed = CliRunner().invoke(app, ["bench", "train", "--json"])
    assert failed.exit_code == 1
    assert json.loads(failed.stdout)["equal"] is False


@pytest.mark.slow
def test_the_bench_runs_on_the_embedded_model() -> None:
    size = ["--n-ctx", "4", "--classes", "6", "--batch", "3", "--repeats", "1"]
    command = ["bench", "train", "--model", "glyph-clip", *size]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["steps"][0]["gradient_difference"] < 1e-4
    assert figures["steps"][0]["speedup"] > 1
