"""Two ways to take one training step that compute the same: the straightforward one, and the one that training takes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from candor.clip.backbone import Backbone
from candor.clip.learners import ContextLearner, LearnerConfig
from candor.clip.prompt_tokens import tokenize_names
from candor.clip.templates import DEFAULT_TEMPLATE, fill
from candor.clip.text_encoder import text_tower
from candor.errors import InvalidInput
from training.config import TrainConfig
from training.loop import CachedViews, TrainingData, forward, loss_terms
from training.regularizers import DynamicOutlierRegularization
from vocab_index.outliers import OutlierSampler
from vocab_index.sources.wordnet import nouns

# The first flowers of Oxford Flowers 102: names as label sets have them, one to five words, up to eight tokens.
CLASSNAMES = tuple(Path(__file__).with_name("classnames.txt").read_text().splitlines())


@dataclass(frozen=True)
class Task:
    """One batch and one label set on a frozen model.

    Attributes:
        backbone: frozen.
        learner: the context that is tuned.
        pixels: preprocessed images, (B, 3, H, W).
        labels: (B,).
        classnames: C names.
        outliers: as many nouns of WordNet.
        zero_shot: features of the outliers under the hand-written template, (C, D).
    """

    backbone: Backbone
    learner: ContextLearner
    pixels: Tensor
    labels: Tensor
    classnames: tuple[str, ...]
    outliers: tuple[str, ...]
    zero_shot: Tensor


def make_task(backbone: Backbone, n_ctx: int, classes: int, batch: int) -> Task:
    """A task of random pixels; the same for equal arguments."""
    names = tuple(dict.fromkeys((*CLASSNAMES, *nouns())))
    if classes > len(names):
        raise InvalidInput(f"there are names for at most {len(names)} classes, got {classes}")
    words = tuple(random.Random(0).sample(list(nouns()), classes))
    torch.manual_seed(0)
    size = backbone.model.visual.image_size
    height, width = size if isinstance(size, tuple) else (size, size)
    pixels = torch.randn(batch, 3, height, width, device=backbone.device)
    labels = torch.randint(classes, (batch,), device=backbone.device)
    learner = ContextLearner.create(LearnerConfig(n_ctx=n_ctx), backbone, ())
    zero_shot = backbone.encode_text(fill(DEFAULT_TEMPLATE, words))
    return Task(backbone, learner, pixels, labels, tuple(names[:classes]), words, zero_shot)


def straightforward(task: Task, dor: bool) -> Callable[[], Tensor]:
    """The step as the usual code base takes it: the image tower and all context_length text positions of every class."""
    model, ctx = task.backbone.model, task.learner.ctx
    tower = text_tower(model)

    def prompts_of(names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        tokens = task.backbone.tokenize([" ".join(["X"] * len(ctx)) + f" {name}." for name in names])
        return tower.token_embedding(tokens).detach(), tokens.argmax(dim=-1)

    classes, outliers = prompts_of(task.classnames), prompts_of(task.outliers) if dor else None

    def encode(prompts: tuple[Tensor, Tensor]) -> Tensor:
        fixed, eot = prompts
        x = torch.cat([fixed[:, :1], ctx.expand(len(fixed), -1, -1), fixed[:, 1 + len(ctx) :]], dim=1)
        x = tower.transformer(x + tower.positional_embedding, attn_mask=tower.attn_mask)
        x = tower.ln_final(x)[torch.arange(len(x)), eot] @ tower.text_projection
        return F.normalize(x, dim=-1)

    def step() -> Tensor:
        image_features = F.normalize(model.encode_image(task.pixels), dim=-1)
        logits = task.backbone.logit_scale * image_features @ encode(classes).T
        loss = F.cross_entropy(logits, task.labels)
        if outliers is not None:
            loss = loss + DynamicOutlierRegularization.weight * (1 - (encode(outliers) * task.zero_shot).sum(dim=-1).mean())
        return _backward(loss, ctx)

    return step


def shared(task: Task, dor: bool) -> Callable[[], Tensor]:
    """The step of the training loop: image features from the cache, the prompts' shared prefix once, names to their end."""
    backbone, learner = task.backbone, task.learner
    classes, outliers = (tokenize_names(backbone, n, learner.config.n_ctx) for n in (task.classnames, task.outliers))
    features = backbone.encode_image(task.pixels)
    unused = backbone.encode_text(fill(DEFAULT_TEMPLATE, task.classnames))
    data = TrainingData(CachedViews(features[:, None]), task.labels, classes, unused, (features[:0], task.labels[:0]))
    sampler = OutlierSampler(len(outliers), len(outliers), seed=0)
    everything = DynamicOutlierRegularization(outliers, task.zero_shot, sampler)
    regularizers = {"dor": (DynamicOutlierRegularization.weight, everything)} if dor else {}
    batch = torch.arange(len(task.labels), device=backbone.device)

    def step() -> Tensor:
        output = forward(backbone, learner, data, batch, TrainConfig(), epoch=0, number=0)
        return _backward(torch.stack(list(loss_terms(output, regularizers).values())).sum(), learner.ctx)

    return step


def _backward(loss: Tensor, ctx: Tensor) -> Tensor:
    ctx.grad = None
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


STEPS: dict[str, Callable[[Task, bool], Callable[[], Tensor]]] = {"straightforward": straightforward, "shared": shared}
