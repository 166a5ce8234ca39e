"""From a data set and a recipe to an evaluated learner."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from candor.clip.artifact import SCOPES, Scope
from candor.clip.backbone import Backbone, Progress, no_progress
from candor.clip.learners import PromptLearner, create_learner
from candor.clip.prompt_tokens import tokenize_names
from candor.clip.templates import fill
from candor.clip.text_encoder import encode_prompts
from candor.errors import InvalidInput
from training.checkpoint import History
from training.config import TrainConfig
from training.data import ImageDataset, Sample, classnames_of, few_shot, held_out, in_scope, scope_labels
from training.evaluation import ScopeResult, evaluate
from training.features import NOTHING_KEPT, FeatureCache, FreshViews, encode_samples, readable_samples
from training.loop import CachedViews, ImageViews, OnEpoch, Resume, TrainingData, train
from training.methods import check_method
from training.regularizers import REGULARIZERS, RunSetting
from training.seen import digests_of
from vocab_index.outliers import OutlierPool


@dataclass(frozen=True)
class Images:
    """How images are read and where their features are kept.

    Attributes:
        cache: of image features.
        skip_bad: leave out images that cannot be read.
        fresh: encode a new view of the training images each epoch instead of keeping views.
        progress: shown while images are read.
    """

    cache: FeatureCache = NOTHING_KEPT
    skip_bad: bool = False
    fresh: bool = False
    progress: Progress = no_progress


PLAIN_IMAGES = Images()


@dataclass(frozen=True)
class Features:
    """A data set seen through a frozen backbone; what all runs on it share.

    Attributes:
        test: per scope, image features (N, D) and labels (N,).
        zero_shot: per scope, text features (C, D) of the hand-written template.
        skipped: test images that could not be read, and why.
    """

    test: dict[Scope, tuple[Tensor, Tensor]]
    zero_shot: dict[Scope, Tensor]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shots:
    """The training images of one seed; what all methods share.

    Attributes:
        images: features of the shots of the base classes.
        labels: theirs, (N,).
        held_out: features (M, D) and labels (M,) of held-out training images of the base classes.
        skipped: images that could not be read, and why.
        digests: sha256 of the content of each shot.
    """

    images: ImageViews
    labels: Tensor
    held_out: tuple[Tensor, Tensor]
    skipped: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tuned:
    """A finished run: the learner, what was measured in each epoch, and the digests of what it was tuned on."""

    learner: PromptLearner
    history: History
    shots: tuple[str, ...] = ()


def prepare(backbone: Backbone, dataset: ImageDataset, images: Images = PLAIN_IMAGES) -> Features:
    """Encode the test images and the class names of a data set."""
    labels = scope_labels(dataset)
    encoded = {
        scope: encode_samples(
            backbone,
            in_scope(dataset.test, labels[scope]),
            cache=images.cache,
            skip_bad=images.skip_bad,
            progress=images.progress,
        )
        for scope in SCOPES
    }
    return Features(
        {scope: (found.image_features[:, 0], found.labels) for scope, found in encoded.items()},
        {scope: backbone.encode_text(fill(dataset.template, classnames_of(dataset, scope))) for scope in SCOPES},
        tuple(line for found in encoded.values() for line in found.skipped),
    )


def encode_shots(backbone: Backbone, dataset: ImageDataset, config: TrainConfig, images: Images = PLAIN_IMAGES) -> Shots:
    """Draw and encode the shots and the held-out images of a seed; the same for every method.

    Raises:
        InvalidInput: a base class has no image to train on, or some cannot be read.
    """
    base = scope_labels(dataset)["base"]
    drawn = in_scope(few_shot(dataset.train, config.shots, config.seed), base)
    aside = encode_samples(
        backbone,
        in_scope(held_out(dataset, config.shots, config.seed), base),
        cache=images.cache,
        skip_bad=images.skip_bad,
        progress=images.progress,
    )
    views, labels, skipped = _training_views(backbone, drawn, config, images)
    lacking = [name for label, name in enumerate(classnames_of(dataset, "base")) if label not in set(labels.tolist())]
    if lacking:
        raise InvalidInput(f"{dataset.name} has no training image that can be read of: {', '.join(lacking[:10])}")
    held = (aside.image_features[:, 0], aside.labels)
    return Shots(views, labels, held, (*skipped, *aside.skipped), digests_of(drawn))


def _training_views(
    backbone: Backbone, drawn: list[Sample], config: TrainConfig, images: Images
) -> tuple[ImageViews, Tensor, tuple[str, ...]]:
    if images.fresh:
        samples, skipped = readable_samples(drawn, skip_bad=images.skip_bad, progress=images.progress)
        labels = torch.tensor([s.label for s in samples], device=backbone.device)
        return FreshViews(backbone, samples, config.augment, config.seed), labels, skipped
    shots = encode_samples(
        backbone,
        drawn,
        augment=config.augment,
        seed=config.seed,
        cache=images.cache,
        skip_bad=images.skip_bad,
        progress=images.progress,
    )
    return CachedViews(shots.image_features), shots.labels, shots.skipped


def evaluate_zero_shot(
    backbone: Backbone, features: Features, reference_features: Tensor | None = None
) -> dict[Scope, ScopeResult]:
    """The hand-written template on both scopes; arguments as for `evaluate_learner`."""
    zs, scale = features.zero_shot, backbone.logit_scale
    return {s: evaluate(*features.test[s], zs[s], zs[s], scale, reference_features=reference_features) for s in SCOPES}


def evaluate_learner(
    backbone: Backbone,
    learner: PromptLearner,
    dataset: ImageDataset,
    features: Features,
    reference_features: Tensor | None = None,
) -> dict[Scope, ScopeResult]:
    """A tuned learner on both scopes, each among its own classes only; a class-specific one on base alone.

    Args:
        backbone: frozen.
        learner: tuned.
        dataset: gives the class names.
        features: of `prepare`.
        reference_features: of held-out images, (M, D), for PIECE; None leaves it out.
    """
    results: dict[Scope, ScopeResult] = {}
    for scope in SCOPES if not learner.config.class_specific else SCOPES[:1]:
        names = tokenize_names(backbone, classnames_of(dataset, scope), learner.config.n_ctx)
        with torch.inference_mode():
            text_features = encode_prompts(backbone.model, learner(names))
        results[scope] = evaluate(
            *features.test[scope],
            text_features,
            features.zero_shot[scope],
            backbone.logit_scale,
            reference_features=reference_features,
        )
    return results


def tune(
    backbone: Backbone,
    dataset: ImageDataset,
    features: Features,
    shots: Shots,
    method: str,
    config: TrainConfig,
    outliers: OutlierPool | None = None,
    *,
    on_epoch: OnEpoch | None = None,
    checkpoint: Path | None = None,
) -> Tuned:
    """Tune a prompt on the base classes of a data set.

    Args:
        backbone: frozen.
        dataset: gives the base class names.
        features: of `prepare`.
        shots: of `encode_shots`.
        method: such as "coop+dor".
        config: the recipe.
        outliers: of `find_outliers`; needed by methods with DOR.
        on_epoch: progress.
        checkpoint: file that is written each epoch, and gone on from where it is there.

    Raises:
        InvalidInput: unknown method, DOR without outliers, or a checkpoint of another run.
    """
    weights = check_method(method, config)
    names = classnames_of(dataset, "base")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        learner = create_learner(config.learner, backbone, names)
    setting = RunSetting(backbone, config, learner.config.n_ctx, names, outliers)
    regularizers = {name: (weight, REGULARIZERS[name].for_run(setting)) for name, weight in weights.items()}
    data = TrainingData(
        shots.images,
        shots.labels,
        tokenize_names(backbone, names, learner.config.n_ctx),
        features.zero_shot["base"],
        shots.held_out,
    )
    resume = None
    if checkpoint is not None:
        resume = Resume(checkpoint, _fingerprint(backbone, dataset, shots, method, config, outliers))
    return Tuned(learner, train(backbone, learner, data, regularizers, config, on_epoch, resume), shots.digests)


def _fingerprint(
    backbone: Backbone,
    dataset: ImageDataset,
    shots: Shots,
    method: str,
    config: TrainConfig,
    outliers: OutlierPool | None,
) -> str:
    """sha256 of all that decides a run: two runs with equal ones end with the same ctx."""
    candidates = (outliers.words, outliers.similarity) if outliers else ()
    settings = [backbone.digest, dataset.name, dataset.classnames, dataset.template, method, candidates, shots.digests]
    digest = hashlib.sha256(json.dumps([*settings, config.model_dump(mode="json")], sort_keys=True).encode())
    tensors = [shots.labels, *shots.held_out]
    if outliers is not None:
        tensors.append(outliers.features)
    if isinstance(shots.images, CachedViews):
        tensors.append(shots.images.image_features)
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
