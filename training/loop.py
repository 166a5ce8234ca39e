"""The one training loop, for every learner and regulariser."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from candor.calibration.bins import ReliabilityBins
from candor.calibration.divergence import feature_divergence, text_deviation
from candor.calibration.scores import accuracy, ece
from candor.clip.backbone import Backbone
from candor.clip.learners import PromptLearner
from candor.clip.prompt_tokens import TokenizedNames
from candor.clip.text_encoder import encode_prompts, run_prefix
from candor.errors import CandorError
from candor.streams import stream
from training.checkpoint import Checkpoint, History, load_checkpoint, save_checkpoint
from training.config import TrainConfig
from training.optimisation import Stepper
from training.regularizers import StepOutput, Term

OnEpoch = Callable[[int, dict[str, float]], None]
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class ImageViews(Protocol):
    """Image features of training images, a view of each at a time."""

    def __call__(self, rows: Tensor, epoch: int) -> Tensor:
        """Features of the images in these rows, (len(rows), D) of L2 norm 1."""
        ...


@dataclass(frozen=True)
class CachedViews:
    """Views that were encoded once; epoch e shows view e mod V of every image.

    Attributes:
        image_features: (N, V, D) of L2 norm 1.
    """

    image_features: Tensor

    def __call__(self, rows: Tensor, epoch: int) -> Tensor:
        """Features of the images in these rows, (len(rows), D)."""
        return self.image_features[rows, epoch % self.image_features.shape[1]]


@dataclass(frozen=True)
class TrainingData:
    """What the loop runs on; the image tower is frozen, so images are features.

    Attributes:
        images: features of the N training images, view by view.
        labels: (N,) int64.
        names: the C base classes.
        zero_shot_text_features: theirs under the hand-written template, (C, D).
        held_out: features (M, D) and labels (M,) of held-out training images, for the validation figures; M may be 0.
    """

    images: ImageViews
    labels: Tensor
    names: TokenizedNames
    zero_shot_text_features: Tensor
    held_out: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Resume:
    """Where a run keeps its checkpoint.

    Attributes:
        path: file; a run goes on from it where it is there.
        fingerprint: of everything that decides the run.
    """

    path: Path
    fingerprint: str


def train(
    backbone: Backbone,
    learner: PromptLearner,
    data: TrainingData,
    regularizers: dict[str, tuple[float, Term]],
    config: TrainConfig,
    on_epoch: OnEpoch | None = None,
    resume: Resume | None = None,
) -> History:
    """Tune a learner in place: cross-entropy plus weighted regularisers.

    Every draw is a function of the seed, the epoch and the step, so a run that goes on from a checkpoint is the same to the
    bit as one that was never stopped.

    Args:
        backbone: frozen.
        learner: at its starting point.
        data: base classes only.
        regularizers: name -> (weight, term).
        config: the recipe.
        on_epoch: called with the epoch (from 0) and its figures; for a resumed run with the epochs before the stop too.
        resume: keeps a checkpoint each epoch, and goes on from it.

    Returns:
        Figures of every epoch: the mean of each loss term, learning rate, FD, text deviation and validation scores.

    Raises:
        CandorError: the loss is no longer finite; says at which step and in which term.
        IntegrityError, InvalidInput: the checkpoint is damaged, or of another run.
    """
    stepper = Stepper(learner, config, backbone.device)
    history: History = []
    if resume and (found := load_checkpoint(resume.path, resume.fingerprint, backbone.device)):
        stepper.restore(found.tensors)
        history = found.history
    report = on_epoch or (lambda *_: None)
    for epoch, figures in enumerate(history):
        report(epoch, figures)
    for epoch in range(len(history), config.epochs):
        stepper.start_epoch(epoch)
        history.append(_run_epoch(backbone, learner, data, regularizers, config, stepper, epoch))
        if resume:
            save_checkpoint(resume.path, resume.fingerprint, Checkpoint(epoch + 1, stepper.state(), history))
        report(epoch, history[-1])
    return history


def _run_epoch(
    backbone: Backbone,
    learner: PromptLearner,
    data: TrainingData,
    regularizers: dict[str, tuple[float, Term]],
    config: TrainConfig,
    stepper: Stepper,
    epoch: int,
) -> dict[str, float]:
    size = min(config.batch_size, len(data.labels))
    shuffled = torch.randperm(len(data.labels), generator=stream(config.seed, "batches", epoch)).to(data.labels.device)
    batches = [batch for batch in shuffled.split(size) if len(batch) == size]  # as Dassl: the incomplete one is dropped
    sums: dict[str, float] = {}
    for number, batch in enumerate(batches):
        step = forward(backbone, learner, data, batch, config, epoch, epoch * len(batches) + number)
        terms = loss_terms(step, regularizers)
        _check_finite(terms, epoch, number)
        stepper.step(torch.stack(list(terms.values())).sum())
        _check_finite({"ctx": stepper.largest()}, epoch, number)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value.item()
    means = {name: value / len(batches) for name, value in sums.items()}
    return means | {"learning_rate": stepper.learning_rate} | _measure(backbone, data, step.text_features.detach())


def forward(
    backbone: Backbone,
    learner: PromptLearner,
    data: TrainingData,
    batch: Tensor,
    config: TrainConfig,
    epoch: int,
    number: int,
) -> StepOutput:
    """Encode the classes and classify a batch; only the towers run in lower precision, never the logits.

    Args:
        backbone: frozen.
        learner: gives the prompts.
        data: of the run.
        batch: rows of the training images, (B,).
        config: gives the precision.
        epoch: from 0; decides the view of each image.
        number: of the step, from 0 and over all epochs.
    """
    labels, image_features = data.labels[batch], data.images(batch, epoch)
    with _autocast(config, backbone.device):
        prompts = learner(data.names)
        prefix = run_prefix(backbone.model, prompts)
        text_features = encode_prompts(backbone.model, prompts, prefix)

    def encode_names(names: TokenizedNames) -> Tensor:
        with _autocast(config, backbone.device):
            return encode_prompts(backbone.model, learner(names), prefix)

    logits = backbone.logit_scale * image_features.float() @ text_features.T
    return StepOutput(image_features, text_features, data.zero_shot_text_features, logits, labels, encode_names, number)


def _autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    return nullcontext() if config.autocast == "none" else torch.autocast(device.type, AUTOCAST[config.autocast])


def loss_terms(step: StepOutput, regularizers: dict[str, tuple[float, Term]]) -> dict[str, Tensor]:
    """The weighted terms of the loss by name; the loss is their sum."""
    terms = {"cross_entropy_loss": F.cross_entropy(step.logits, step.labels)}
    for name, (weight, regularizer) in regularizers.items():
        terms[f"{name}_loss"] = weight * regularizer(step)
    return terms


@torch.no_grad()
def _measure(backbone: Backbone, data: TrainingData, text_features: Tensor) -> dict[str, float]:
    """FD, text deviation and held-out scores with the text features of an epoch's last step."""
    figures = {
        "fd": feature_divergence(text_features),
        "text_deviation": float(text_deviation(text_features, data.zero_shot_text_features).mean()),
    }
    features, labels = data.held_out
    if len(labels):
        logits = backbone.logit_scale * features.float() @ text_features.T
        confidence, predicted = logits.double().softmax(dim=-1).max(dim=-1)
        bins = ReliabilityBins.of(confidence.clamp(max=1).cpu().numpy(), (predicted == labels).cpu().numpy())
        figures |= {"val_accuracy": accuracy(bins), "val_ece": ece(bins)}
    return figures


def _check_finite(terms: dict[str, Tensor], epoch: int, step: int) -> None:
    for name, value in terms.items():
        if not torch.isfinite(value):
            raise CandorError(
                f"training stopped: {name} became {value.item()} in epoch {epoch + 1}, step {step + 1}; "
                "a smaller learning rate is the usual cure"
            )
