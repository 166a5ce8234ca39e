"""The training loop: CoOp's schedule, reproducible to the bit, and loud when it breaks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from candor.clip import ContextLearner, LearnerConfig, tokenize_names
from candor.clip.backbone import Backbone
from candor.errors import CandorError, InvalidInput
from training.config import TrainConfig, load_config
from training.loop import TrainingData, learning_rate, train
from training.regularizers import KgCoOp, Regularizer, StepOutput

NAMES = ("red sun", "blue sun", "green sun")


@pytest.fixture
def data(tiny_clip: Backbone) -> TrainingData:
    zero_shot = tiny_clip.encode_text([f"a {name}." for name in NAMES])
    features = torch.nn.functional.normalize(zero_shot.repeat(4, 1) + 0.05 * torch.randn(12, 64), dim=-1)
    return TrainingData(features, torch.arange(3).repeat(4), tokenize_names(tiny_clip, NAMES, 4), zero_shot)


@pytest.fixture
def run(tiny_clip: Backbone, data: TrainingData) -> Callable[..., tuple[ContextLearner, list[dict[str, float]]]]:
    def _run(
        terms: dict[str, tuple[float, Regularizer]] | None = None, **settings: object
    ) -> tuple[ContextLearner, list[dict[str, float]]]:
        config = TrainConfig(**({"epochs": 5, "batch_size": 4, "learning_rate": 0.1} | settings))
        torch.manual_seed(config.seed)
        learner = ContextLearner.create(LearnerConfig(n_ctx=4), tiny_clip, NAMES)
        losses: list[dict[str, float]] = []
        train(tiny_clip, learner, data, terms or {}, config, lambda _, terms: losses.append(terms))
        return learner, losses

    return _run


def test_the_schedule_is_the_one_in_coops_logs() -> None:
    config = TrainConfig(epochs=50, learning_rate=2e-3)
    assert learning_rate(0, config) == 1e-5
    assert learning_rate(1, config) == 2e-3
    assert learning_rate(2, config) == pytest.approx(1.998027e-3, abs=1e-9)  # CoOp issue 26, epoch 3
    assert learning_rate(49, config) > 0


def test_equal_seeds_give_equal_bits(run: Callable[..., tuple[ContextLearner, list[dict[str, float]]]]) -> None:
    first, again, other = run()[0].ctx, run()[0].ctx, run(seed=2)[0].ctx
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_training_lowers_the_loss(run: Callable[..., tuple[ContextLearner, list[dict[str, float]]]]) -> None:
    losses = [terms["cross_entropy_loss"] for terms in run(epochs=30)[1]]
    assert len(losses) == 30
    assert losses[-1] < 0.8 * losses[0]


def test_kgcoop_keeps_the_text_nearer_to_zero_shot(
    tiny_clip: Backbone, data: TrainingData, run: Callable[..., tuple[ContextLearner, list[dict[str, float]]]]
) -> None:
    kept = run({"kgcoop": (100.0, KgCoOp())}, epochs=30)[1]
    loose = run({"kgcoop": (0.0001, KgCoOp())}, epochs=30)[1]
    assert kept[-1]["kgcoop_loss"] / 100 < loose[-1]["kgcoop_loss"] / 0.0001


def test_an_incomplete_batch_is_dropped_unless_it_is_all_there_is(
    run: Callable[..., tuple[ContextLearner, list[dict[str, float]]]],
) -> None:
    calls = []

    def count(step: StepOutput) -> torch.Tensor:
        calls.append(len(step.labels))
        return step.logits.sum() * 0

    run({"count": (1.0, count)}, epochs=1, batch_size=5)
    assert calls == [5, 5]
    calls.clear()
    run({"count": (1.0, count)}, epochs=1, batch_size=500)
    assert calls == [12]


def test_a_loss_that_is_not_finite_stops_the_run(
    run: Callable[..., tuple[ContextLearner, list[dict[str, float]]]],
) -> None:
    with pytest.raises(CandorError, match="bad_loss became nan in epoch 1, step 1"):
        run({"bad": (1.0, lambda step: step.logits.sum() * float("nan"))})


def test_configurations(tmp_path) -> None:
    paper = load_config("paper")
    assert (paper.learning_rate, paper.batch_size, paper.epochs, paper.learner.n_ctx) == (0.002, 32, 200, 16)
    path = tmp_path / "own.yaml"
    path.write_text("shots: 4\nlearner: {class_position: front}\n")
    assert load_config(str(path), {"shots": 2, "epochs": None}).shots == 2
    path.write_text("shot: 4\n")
    with pytest.raises(InvalidInput, match="shot: Extra inputs are not permitted"):
        load_config(str(path))
    path.write_text("shots: 0\n")
    with pytest.raises(InvalidInput, match=r"shots: .*got 0"):
        load_config(str(path))
    for text in ("a: [", "- 1"):
        path.write_text(text)
        with pytest.raises(InvalidInput, match=r"own\.yaml"):
            load_config(str(path))
    with pytest.raises(InvalidInput, match="recipes: glyphs, paper"):
        load_config("papre")
