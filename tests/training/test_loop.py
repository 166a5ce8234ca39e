"""The training loop: CoOp's schedule, reproducible to the bit, and loud when it breaks."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from candor.clip import ContextLearner, LearnerConfig, tokenize_names
from candor.clip.backbone import Backbone
from candor.errors import CandorError, InvalidInput
from training.config import TrainConfig, load_config
from training.loop import CachedViews, TrainingData, train
from training.optimisation import learning_rate
from training.regularizers import KgCoOp, StepOutput, Term

NAMES = ("red sun", "blue sun", "green sun")


@pytest.fixture
def data(tiny_clip: Backbone) -> TrainingData:
    zero_shot = tiny_clip.encode_text([f"a {name}." for name in NAMES])
    features = torch.nn.functional.normalize(zero_shot.repeat(4, 1) + 0.05 * torch.randn(12, 64), dim=-1)
    names, held_out = tokenize_names(tiny_clip, NAMES, 4), (zero_shot, torch.arange(3))
    return TrainingData(CachedViews(features[:, None]), torch.arange(3).repeat(4), names, zero_shot, held_out)


@pytest.fixture
def run(tiny_clip: Backbone, data: TrainingData) -> Callable[..., tuple[ContextLearner, list[dict[str, float]]]]:
    def _run(
        terms: dict[str, tuple[float, Term]] | None = None, **settings: object
    ) -> tuple[ContextLearner, list[dict[str, float]]]:
        config = TrainConfig(**({"epochs": 5, "batch_size": 4, "learning_rate": 0.1} | settings))
        torch.manual_seed(config.seed)
        learner = ContextLearner.create(LearnerConfig(n_ctx=4), tiny_clip, NAMES)
        seen: list[dict[str, float]] = []
        history = train(tiny_clip, learner, data, terms or {}, config, lambda _, figures: seen.append(figures))
        assert history == seen
        return learner, history

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


def test_an_epoch_says_what_it_measured(
    data: TrainingData, run: Callable[..., tuple[ContextLearner, list[dict[str, float]]]]
) -> None:
    first, last = run({"kgcoop": (8.0, KgCoOp())}, epochs=4)[1][::3]
    terms = ["cross_entropy_loss", "kgcoop_loss"]
    assert list(first) == [*terms, "learning_rate", "fd", "text_deviation", "val_accuracy", "val_ece"]
    assert first["learning_rate"] == 1e-5
    assert last["learning_rate"] == pytest.approx(0.5 * 0.1 * (1 + math.cos(math.pi * 2 / 4)))
    # in the first epoch the context hardly moves: the term of every step is the deviation of the last one
    assert first["kgcoop_loss"] / 8 == pytest.approx(first["text_deviation"], rel=0.02)
    assert last["val_accuracy"] in (0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1)


def test_each_epoch_shows_another_view() -> None:
    features = torch.arange(2 * 3 * 4.0).view(2, 3, 4)
    shown = [CachedViews(features)(torch.tensor([1, 0]), epoch) for epoch in range(4)]
    assert torch.equal(shown[1], features[[1, 0], 1])
    assert torch.equal(shown[3], shown[0])


def test_a_gradient_is_clipped_to_its_norm(run: Callable[..., tuple[ContextLearner, list[dict[str, float]]]]) -> None:
    settings = {"epochs": 1, "batch_size": 12, "momentum": 0.0, "weight_decay": 0.0, "warmup_lr": 1.0}
    start = run(**(settings | {"warmup_lr": 0.0}))[0].ctx
    free, clipped = (run(**settings, clip_norm=norm)[0].ctx - start for norm in (None, 0.01))
    assert free.norm() > 0.02
    assert clipped.norm().item() == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(clipped / clipped.norm(), free / free.norm(), atol=1e-4, rtol=1e-3)


def test_the_first_step_of_adam_has_the_size_of_the_learning_rate(
    run: Callable[..., tuple[ContextLearner, list[dict[str, float]]]],
) -> None:
    """m / sqrt(v) is the gradient's sign in the first step (Kingma and Ba 2015, algorithm 1)."""
    settings = {"epochs": 1, "batch_size": 12, "optimiser": "adam", "weight_decay": 0.0}
    start = run(**settings, warmup_lr=0.0)[0].ctx
    moved = run(**settings, warmup_lr=0.01)[0].ctx - start
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 0.01), atol=1e-4, rtol=1e-2)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_autocast_keeps_float32_where_it_matters(
    tiny_clip: Backbone, run: Callable[..., tuple[ContextLearner, list[dict[str, float]]]], precision: str
) -> None:
    seen: list[StepOutput] = []

    def look(step: StepOutput) -> torch.Tensor:
        seen.append(step)
        return step.logits.sum() * 0

    low, history = run({"look": (1.0, look)}, autocast=precision, epochs=1, warmup_lr=0.1)
    full, exact = run(epochs=1, warmup_lr=0.1)
    start = run(epochs=1, warmup_lr=0.0)[0].ctx
    assert low.ctx.dtype == seen[0].logits.dtype == torch.float32
    assert history[0]["cross_entropy_loss"] != exact[0]["cross_entropy_loss"]
    assert history[0]["cross_entropy_loss"] == pytest.approx(exact[0]["cross_entropy_loss"], rel=0.05)
    assert torch.cosine_similarity((low.ctx - start).flatten(), (full.ctx - start).flatten(), dim=0) > 0.98


def test_a_context_that_is_not_finite_stops_the_run(
    run: Callable[..., tuple[ContextLearner, list[dict[str, float]]]],
) -> None:
    """The last step's loss was still finite; its update was not."""
    with pytest.raises(CandorError, match=r"ctx became (nan|inf) in epoch 1, step 1; a smaller learning rate"):
        run(warmup_lr=1e38, epochs=1, batch_size=12, momentum=0.0, weight_decay=1e38)


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
    for text in ("weights: {dor: .nan}", "weights: {dor: -1}", "learning_rate: .inf"):
        path.write_text(text + "\n")
        with pytest.raises(InvalidInput, match=r"should be (a finite|greater)"):
            load_config(str(path))
    path.write_text("base: glyphs\nweights: {dor: 2.0}\noutliers: {batch: 7}\n")
    changes = {"weights": {"dor": 2.0}, "outliers": load_config("glyphs").outliers.model_copy(update={"batch": 7})}
    assert load_config(str(path)) == load_config("glyphs").model_copy(update=changes)
    path.write_text("base: glyph\n")
    with pytest.raises(InvalidInput, match="no recipe or file 'glyph'"):
        load_config(str(path))
    for text in ("a: [", "- 1"):
        path.write_text(text)
        with pytest.raises(InvalidInput, match=r"own\.yaml"):
            load_config(str(path))
    with pytest.raises(InvalidInput, match="recipes: glyphs, paper"):
        load_config("papre")
