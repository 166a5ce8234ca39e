"""The one training loop, for every learner and regulariser."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from candor.clip.backbone import Backbone
from candor.clip.learners import PromptLearner
from candor.clip.prompt_tokens import TokenizedNames
from candor.clip.text_encoder import encode_prompts
from candor.errors import CandorError
from training.config import TrainConfig
from training.regularizers import Regularizer, StepOutput

OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class TrainingData:
    """What the loop runs on; the image tower is frozen, so images are features.

    Attributes:
        image_features: (N, D) of L2 norm 1.
        labels: (N,) int64.
        names: the C base classes.
        zero_shot_text_features: theirs under the hand-written template, (C, D).
    """

    image_features: Tensor
    labels: Tensor
    names: TokenizedNames
    zero_shot_text_features: Tensor


def learning_rate(epoch: int, config: TrainConfig) -> float:
    """CoOp's schedule: one constant warm-up epoch, then a cosine stepped once an epoch (Dassl, WARMUP_RECOUNT).

    lr_0 = warmup_lr; lr_e = 0.5 lr (1 + cos(pi (e - 1) / E)) for the e-th epoch after it, counted from 1.

    Args:
        epoch: from 0.
        config: gives lr, E and warmup_lr.
    """
    if epoch == 0:
        return config.warmup_lr
    return 0.5 * config.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / config.epochs))


def train(
    backbone: Backbone,
    learner: PromptLearner,
    data: TrainingData,
    regularizers: dict[str, tuple[float, Regularizer]],
    config: TrainConfig,
    on_epoch: OnEpoch | None = None,
) -> PromptLearner:
    """Tune a learner in place: cross-entropy plus weighted regularisers, SGD.

    Args:
        backbone: frozen.
        learner: at its starting point.
        data: base classes only.
        regularizers: name -> (weight, term).
        config: the recipe.
        on_epoch: called with the epoch (from 0) and the mean of each loss term in it.

    Returns:
        The learner of the last epoch.

    Raises:
        CandorError: the loss is no longer finite; says at which step and in which term.
    """
    optimiser = torch.optim.SGD(
        learner.parameters(), config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    order = torch.Generator().manual_seed(config.seed)
    size = min(config.batch_size, len(data.labels))
    for epoch in range(config.epochs):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(epoch, config)
        shuffled = torch.randperm(len(data.labels), generator=order).to(data.labels.device)
        batches = [batch for batch in shuffled.split(size) if len(batch) == size]  # as Dassl: the incomplete one is dropped
        sums: dict[str, float] = {}
        for number, batch in enumerate(batches):
            terms = _loss_terms(backbone, learner, data, batch, regularizers)
            _check_finite(terms, epoch, number)
            optimiser.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step()
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value.item()
        if on_epoch is not None:
            on_epoch(epoch, {name: value / len(batches) for name, value in sums.items()})
    return learner


def _loss_terms(
    backbone: Backbone,
    learner: PromptLearner,
    data: TrainingData,
    batch: Tensor,
    regularizers: dict[str, tuple[float, Regularizer]],
) -> dict[str, Tensor]:
    """The weighted terms of the loss by name."""

    def encode_names(names: TokenizedNames) -> Tensor:
        return encode_prompts(backbone.model, learner(names))

    text_features = encode_names(data.names)
    logits = backbone.logit_scale * data.image_features[batch] @ text_features.T
    labels = data.labels[batch]
    step = StepOutput(text_features, data.zero_shot_text_features, logits, labels, encode_names)
    terms = {"cross_entropy_loss": F.cross_entropy(logits, labels)}
    for name, (weight, regularizer) in regularizers.items():
        terms[f"{name}_loss"] = weight * regularizer(step)
    return terms


def _check_finite(terms: dict[str, Tensor], epoch: int, step: int) -> None:
    for name, value in terms.items():
        if not torch.isfinite(value):
            raise CandorError(
                f"training stopped: {name} became {value.item()} in epoch {epoch + 1}, step {step + 1}; "
                "a smaller learning rate is the usual cure"
            )
