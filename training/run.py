"""From a data set and a recipe to an evaluated learner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from candor.clip.artifact import SCOPES, BackboneRef, PromptArtifact, Scope, save_artifact
from candor.clip.backbone import Backbone, Progress, no_progress
from candor.clip.learners import LEARNERS, PromptLearner
from candor.clip.prompt_tokens import tokenize_names
from candor.clip.templates import fill
from candor.clip.text_encoder import encode_prompts
from candor.errors import InvalidInput
from training.config import TrainConfig
from training.data import ImageDataset, Sample, classnames_of, few_shot, in_scope, scope_labels
from training.evaluation import ScopeResult, evaluate
from training.loop import OnEpoch, TrainingData, train
from training.methods import method_weights
from training.regularizers import DynamicOutlierRegularization, KgCoOp, Regularizer
from vocab_index.index import Outliers, VocabularyIndex


@dataclass(frozen=True)
class Features:
    """A data set seen through a frozen backbone; everything a tuning run needs, computed once for all runs.

    Attributes:
        test: per scope, image features (N, D) and labels (N,).
        zero_shot: per scope, text features (C, D) of the hand-written template.
    """

    test: dict[Scope, tuple[Tensor, Tensor]]
    zero_shot: dict[Scope, Tensor]


def encode_samples(backbone: Backbone, samples: list[Sample], progress: Progress = no_progress) -> tuple[Tensor, Tensor]:
    """Image features (N, D) and labels (N,) of samples."""
    features = backbone.encode_images([s.open() for s in progress(samples, "read images")], progress=progress)
    return features, torch.tensor([s.label for s in samples], device=backbone.device)


def prepare(backbone: Backbone, dataset: ImageDataset, progress: Progress = no_progress) -> Features:
    """Encode the test images and the class names of a data set."""
    labels = scope_labels(dataset)
    return Features(
        {scope: encode_samples(backbone, in_scope(dataset.test, labels[scope]), progress) for scope in SCOPES},
        {scope: backbone.encode_text(fill(dataset.template, classnames_of(dataset, scope))) for scope in SCOPES},
    )


def find_outliers(
    backbone: Backbone, index: VocabularyIndex, dataset: ImageDataset, features: Features, config: TrainConfig
) -> Outliers:
    """DOR's candidates for a data set: near its base classes, free of all its class names, base and new.

    Raises:
        InvalidInput: the index was made with another backbone.
    """
    if index.backbone.sha256 != backbone.digest:
        raise InvalidInput(f"the vocabulary index was made with {index.backbone.model}, not with this {backbone.name}")
    outliers = index.outliers(features.zero_shot["base"], config.outliers.pool, dataset.classnames)
    template = config.outliers.template or dataset.template
    if template == index.template:
        return outliers
    zero_shot = backbone.encode_text(fill(template, outliers.words))
    return Outliers(outliers.words, outliers.similarity, zero_shot, outliers.dropped)


def evaluate_zero_shot(backbone: Backbone, features: Features) -> dict[Scope, ScopeResult]:
    """The hand-written template on both scopes."""
    zs = features.zero_shot
    return {s: evaluate(*features.test[s], zs[s], zs[s], backbone.logit_scale) for s in SCOPES}


def evaluate_learner(
    backbone: Backbone, learner: PromptLearner, dataset: ImageDataset, features: Features
) -> dict[Scope, ScopeResult]:
    """A tuned learner on both scopes, each among its own classes only."""
    results: dict[Scope, ScopeResult] = {}
    for scope in SCOPES:
        names = tokenize_names(backbone, classnames_of(dataset, scope), learner.config.n_ctx)
        with torch.inference_mode():
            text_features = encode_prompts(backbone.model, learner(names))
        results[scope] = evaluate(*features.test[scope], text_features, features.zero_shot[scope], backbone.logit_scale)
    return results


def tune(
    backbone: Backbone,
    dataset: ImageDataset,
    features: Features,
    method: str,
    config: TrainConfig,
    outliers: Outliers | None = None,
    on_epoch: OnEpoch | None = None,
) -> PromptLearner:
    """Tune a prompt on the base classes of a data set.

    Args:
        backbone: frozen.
        dataset: gives the shots and the base class names.
        features: of `prepare`.
        method: name in METHODS.
        config: the recipe.
        outliers: of `find_outliers`; needed by methods with DOR.
        on_epoch: progress.

    Returns:
        The learner.

    Raises:
        InvalidInput: unknown method, or DOR without outliers.
    """
    weights = method_weights(method, config.weights)
    names = classnames_of(dataset, "base")
    shots = in_scope(few_shot(dataset.train, config.shots, config.seed), scope_labels(dataset)["base"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        learner = LEARNERS[config.learner.kind].create(config.learner, backbone, names)
    n_ctx = learner.config.n_ctx
    data = TrainingData(
        *encode_samples(backbone, shots), tokenize_names(backbone, names, n_ctx), features.zero_shot["base"]
    )
    regularizers: dict[str, tuple[float, Regularizer]] = {}
    if "kgcoop" in weights:
        regularizers["kgcoop"] = (weights["kgcoop"], KgCoOp())
    if "dor" in weights:
        if outliers is None:
            raise InvalidInput(f"method {method!r} needs a vocabulary index to draw its outliers from")
        batch = config.outliers.batch or min(len(names), 100)
        words = tokenize_names(backbone, outliers.words, n_ctx)
        regularizers["dor"] = (weights["dor"], DynamicOutlierRegularization(words, outliers.features, batch, config.seed))
    return train(backbone, learner, data, regularizers, config, on_epoch)


def write_artifact(
    path: Path,
    backbone: Backbone,
    learner: PromptLearner,
    dataset: ImageDataset,
    method: str,
    config: TrainConfig,
    results: dict[Scope, ScopeResult],
    replace: bool = False,
) -> PromptArtifact:
    """Keep a tuned learner with its evaluation and reference distributions."""
    return save_artifact(
        path,
        learner,
        replace,
        backbone=BackboneRef.of(backbone),
        method=method,
        regularizers=method_weights(method, config.weights),
        base_classnames=classnames_of(dataset, "base"),
        template=dataset.template,
        reference={scope: result.reference() for scope, result in results.items()},
        evaluation={scope: result.figures() for scope, result in results.items()},
        training={"dataset": dataset.name, **config.model_dump(mode="json")},
        seed=config.seed,
    )
