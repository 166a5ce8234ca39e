"""Whole steps of the real run against a slow float64 reference: every text alone, all 77 positions, sums written out."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor

from candor.clip import ContextLearner, LearnerConfig
from candor.clip.backbone import Backbone
from training.config import OutlierConfig, TrainConfig
from training.data import ImageDataset
from training.loop import CachedViews
from training.run import Features, Shots, Tuned, tune
from vocab_index.outliers import OutlierPool, OutlierSampler

BASE = ("cat", "skull_and_crossbones", "the second of many fleur-de-lis", "black cat face")
NEW = ("dog", "sun", "anchor", "umbrella")
WORDS = ("moon", "old anchor", "three of the seven umbrellas", "owl", "tea-pot", "snow leopard")
TEMPLATE = "a photo of a {}."
WEIGHTS = {"coop": {}, "kgcoop": {"kgcoop": 8.0}, "coop+dor": {"dor": 8.0}, "kgcoop+dor": {"kgcoop": 8.0, "dor": 2.0}}
DRAWN = 4  # outliers a step, of len(WORDS)


@dataclass(frozen=True)
class Problem:
    """A run of one step an epoch: its batch is all there is."""

    clip: Backbone
    image_features: Tensor
    labels: Tensor

    def config(self, **settings: object) -> TrainConfig:
        return TrainConfig(
            **({"epochs": 1, "batch_size": 99, "seed": 3, "outliers": OutlierConfig(batch=DRAWN)} | settings)
        )

    def start(self, config: TrainConfig) -> Tensor:
        torch.manual_seed(config.seed)
        return ContextLearner.create(config.learner, self.clip, BASE).ctx.detach().double()

    def run(self, method: str, config: TrainConfig) -> Tuned:
        dataset = ImageDataset("made-up", BASE + NEW, TEMPLATE, (), ())
        zero_shot = self.clip.encode_text([TEMPLATE.format(name.replace("_", " ")) for name in BASE])
        nothing = self.image_features[:0], self.labels[:0]
        shots = Shots(CachedViews(self.image_features[:, None]), self.labels, nothing)
        words = self.clip.encode_text([TEMPLATE.format(word) for word in WORDS])
        outliers = OutlierPool(WORDS, (0.5,) * len(WORDS), words, ())
        return tune(self.clip, dataset, Features({}, {"base": zero_shot}), shots, method, config, outliers)

    def drawn(self, config: TrainConfig, step: int) -> list[str]:
        """The outliers of a step: asked of the code, as its draw is tested elsewhere."""
        rows = OutlierSampler(len(WORDS), DRAWN, config.seed).draw(step)
        assert len(set(rows.tolist())) == DRAWN
        return [WORDS[row] for row in rows]


@pytest.fixture(scope="module")
def problem(tiny_clip: Backbone) -> Problem:
    generator = torch.Generator().manual_seed(7)
    features = torch.nn.functional.normalize(torch.randn(10, tiny_clip.embed_dim, generator=generator), dim=-1)
    return Problem(tiny_clip, features, torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 0]))


class Reference:
    """The loss of one step, written out; shares nothing with the code under test but open_clip's modules and its BPE."""

    def __init__(self, problem: Problem, position: str) -> None:
        self.problem, self.position = problem, position
        self.model = copy.deepcopy(problem.clip.model).double()
        self.zero_shot = cache(self._zero_shot)

    def embed(self, tokens: list[int]) -> Tensor:
        return self.model.token_embedding(torch.tensor(tokens))

    def tuned(self, name: str, ctx: Tensor) -> Tensor:
        bpe = self.problem.clip.tokenizer.encode
        half = {"end": len(ctx), "middle": len(ctx) // 2, "front": 0}[self.position]
        name_tokens, dot = bpe(name.replace("_", " ")), bpe(".")
        parts = [self.embed([49406]), ctx[:half], self.embed(name_tokens), ctx[half:], self.embed([*dot, 49407])]
        text = torch.cat(parts)
        padded = torch.cat([text, self.embed([0] * (77 - len(text)))])[None] + self.model.positional_embedding
        hidden = self.model.ln_final(self.model.transformer(padded, attn_mask=self.model.attn_mask))
        return hidden[0, len(text) - 1] @ self.model.text_projection

    def _zero_shot(self, name: str) -> Tensor:
        tokens = self.problem.clip.tokenizer([TEMPLATE.format(name.replace("_", " "))])
        return self.model.encode_text(tokens)[0].detach()

    def cross_entropy(self, ctx: Tensor) -> Tensor:
        classes = [self.tuned(name, ctx) for name in BASE]
        scale = math.exp(self.problem.clip.model.logit_scale.item())
        terms = []
        for image, label in zip(self.problem.image_features.double(), self.problem.labels.tolist(), strict=True):
            logits = [scale * cosine(image, text) for text in classes]
            top = max(logit.item() for logit in logits)
            terms.append(top + torch.log(sum(torch.exp(logit - top) for logit in logits)) - logits[label])
        return sum(terms) / len(terms)

    def distance(self, names: tuple[str, ...] | list[str], ctx: Tensor) -> Tensor:
        """1 - (1/N) sum cos(tuned, zero-shot)."""
        return 1 - sum(cosine(self.tuned(name, ctx), self.zero_shot(name)) for name in names) / len(names)

    def step(self, method: str, ctx: Tensor, config: TrainConfig, number: int) -> tuple[dict[str, float], Tensor]:
        """The weighted terms of the loss, and the gradient of their sum in ctx."""
        ctx = ctx.clone().requires_grad_()
        terms = {"cross_entropy_loss": self.cross_entropy(ctx)}
        weights = WEIGHTS[method]
        if "kgcoop" in weights:
            terms["kgcoop_loss"] = weights["kgcoop"] * self.distance(BASE, ctx)
        if "dor" in weights:
            terms["dor_loss"] = weights["dor"] * self.distance(self.problem.drawn(config, number), ctx)
        (gradient,) = torch.autograd.grad(sum(terms.values()), ctx)
        return {name: term.item() for name, term in terms.items()}, gradient


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()


def off(found: Tensor, expected: Tensor) -> float:
    """Relative distance."""
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("method", WEIGHTS)
@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("n_ctx", [4, 16])
def test_loss_and_gradient_of_a_step(problem: Problem, method: str, position: str, n_ctx: int) -> None:
    config = problem.config(learner=LearnerConfig(n_ctx=n_ctx, class_position=position))
    tuned = problem.run(method, config)
    terms, gradient = Reference(problem, position).step(method, problem.start(config), config, 0)
    losses = {name: value for name, value in tuned.history[0].items() if name.endswith("_loss")}
    assert losses == pytest.approx(terms, rel=1e-5)
    assert off(tuned.learner.ctx.grad, gradient) < 1e-5  # measured: at most 2e-6


@pytest.mark.parametrize("method", ["kgcoop", "coop+dor"])
def test_sgd_by_hand(problem: Problem, method: str) -> None:
    """v = 0.9 v + g + wd ctx; ctx = ctx - lr v; rates: warm-up, lr, then lr (1 + cos(pi / 3)) / 2 = 0.75 lr."""
    settings = {"warmup_lr": 0.05, "learning_rate": 0.2, "momentum": 0.9, "weight_decay": 0.01}
    learner = LearnerConfig(n_ctx=4)
    config = problem.config(learner=learner)
    reference, ctx = Reference(problem, "end"), problem.start(config)
    start, velocity = ctx, torch.zeros_like(ctx)
    for step, rate in enumerate((0.05, 0.2, 0.75 * 0.2)):
        velocity = 0.9 * velocity + reference.step(method, ctx, config, step)[1] + 0.01 * ctx
        ctx = ctx - rate * velocity
        tuned = problem.run(method, problem.config(epochs=step + 1, learner=learner, **settings))
        assert off(tuned.learner.ctx.detach() - start, ctx - start) < 1e-5
