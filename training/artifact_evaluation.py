"""Artifacts on a data set: which of its labels are base to an artifact, and how it does on each scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from candor.calibration import LabelGeometry
from candor.clip.artifact import SCOPES, PromptArtifact, Scope
from candor.clip.backbone import Backbone, Progress, no_progress
from candor.clip.learners import PromptLearner
from candor.clip.prompt_tokens import tokenize_names
from candor.clip.templates import fill, readable
from candor.clip.text_encoder import encode_prompts
from candor.errors import InvalidInput
from training.data import ImageDataset, Sample, held_out
from training.evaluation import Probabilities, ScopeResult, evaluate, softmax
from training.features import FeatureCache, encode_samples
from training.report import EvaluatedRun

ZERO_SHOT = "zero-shot"
MIN_LABELS = 2  # with one label every answer is right and certain

LabelSplit = dict[Scope, tuple[int, ...]]


@dataclass(frozen=True)
class ScopeText:
    """The labels of one scope, ready for images to be classified among.

    Attributes:
        labels: C numbers of the data set's labels.
        text_features: (C, D).
        zero_shot_text_features: (C, D); FD and deviation compare with them.
        probabilities: from logits to probabilities: the artifact's calibrator for these labels.
    """

    labels: tuple[int, ...]
    text_features: Tensor
    zero_shot_text_features: Tensor
    probabilities: Probabilities = softmax


def split_labels(classnames: Sequence[str], base_classnames: Sequence[str]) -> LabelSplit:
    """The scope of every label as the service decides it: base where the artifact was tuned on that name, else new.

    Names are compared as they read: case, underscores and runs of white space do not matter.

    Args:
        classnames: of the data set.
        base_classnames: of the artifact.

    Returns:
        Label numbers of each scope; a scope with fewer than two labels is left out.

    Raises:
        InvalidInput: no scope is left.
    """
    base = {readable(name).casefold() for name in base_classnames}
    scopes: dict[Scope, list[int]] = {scope: [] for scope in SCOPES}
    for number, name in enumerate(classnames):
        scopes["base" if readable(name).casefold() in base else "new"].append(number)
    split: LabelSplit = {scope: tuple(labels) for scope, labels in scopes.items() if len(labels) >= MIN_LABELS}
    if not split:
        raise InvalidInput(f"nothing to evaluate: neither base nor new has two labels among {len(classnames)} class names")
    return split


def zero_shot_text(backbone: Backbone, dataset: ImageDataset, split: LabelSplit) -> dict[Scope, ScopeText]:
    """The data set's hand-written template on each scope."""
    texts = {}
    for scope, labels in split.items():
        features = backbone.encode_text(fill(dataset.template, [dataset.classnames[label] for label in labels]))
        texts[scope] = ScopeText(labels, features, features)
    return texts


def artifact_text(
    backbone: Backbone, artifact: PromptArtifact, dataset: ImageDataset, split: LabelSplit
) -> dict[Scope, ScopeText]:
    """A tuned prompt on each scope, its calibrator applied; zero-shot means the artifact's own template, as in the service.

    A class-specific prompt knows no new label: it has no result there.

    Raises:
        IntegrityError: the artifact was tuned on another backbone.
        InvalidInput: a name does not fit the text tower together with the context, or the prompt is class-specific and
            knows no two of the labels.
    """
    learner = artifact.learner(backbone)
    config = artifact.config
    known = config.base_classnames
    base = (tuned_text(backbone, learner, known), _zero_shot(backbone, config.template, known))
    spelling = {readable(name).casefold(): name for name in known}
    texts = {}
    for scope, labels in split.items():
        if scope == "new" and config.learner.class_specific:
            continue
        names = [spelling.get(readable(name).casefold(), name) for name in (dataset.classnames[label] for label in labels)]
        features, zero_shot = tuned_text(backbone, learner, names), _zero_shot(backbone, config.template, names)
        is_base = torch.full((len(names),), scope == "base")
        probabilities = config.calibrator.for_labels(LabelGeometry(features, zero_shot, *base, is_base))
        texts[scope] = ScopeText(labels, features, zero_shot, probabilities)
    if not texts:
        raise InvalidInput(
            f"{artifact.tag} has a context for each of its own classes, and {dataset.name} has no two of them"
        )
    return texts


@torch.inference_mode()
def tuned_text(backbone: Backbone, learner: PromptLearner, names: Sequence[str]) -> Tensor:
    """Text features of names under a tuned prompt, (C, D) of L2 norm 1."""
    return encode_prompts(backbone.model, learner(tokenize_names(backbone, names, learner.config.n_ctx)))


def _zero_shot(backbone: Backbone, template: str, names: Sequence[str]) -> Tensor:
    return backbone.encode_text(fill(template, names))


def reference_samples(dataset: ImageDataset, artifact: PromptArtifact, split: LabelSplit) -> list[Sample]:
    """Images of base labels for PIECE: held out from the artifact's shots, never test images; none for a pure test set."""
    shots = artifact.config.training.get("shots", 16)
    if "base" not in split or not (dataset.train or dataset.val) or not isinstance(shots, int):
        return []
    base = set(split["base"])
    return [sample for sample in held_out(dataset, shots, artifact.config.seed) if sample.label in base]


def evaluate_texts(
    texts: Mapping[Scope, ScopeText],
    image_features: Tensor,
    labels: Tensor,
    logit_scale: float,
    reference_features: Tensor | None = None,
) -> dict[Scope, ScopeResult]:
    """Classify each scope's images among that scope's labels only.

    Args:
        texts: per scope.
        image_features: (N, D) of all test images.
        labels: (N,), of the data set.
        logit_scale: factor from cosine to logit.
        reference_features: (R, D), see `reference_samples`.

    Returns:
        A result a scope; a scope without test images is left out.
    """
    results: dict[Scope, ScopeResult] = {}
    labels = labels.to(image_features.device)
    for scope, text in texts.items():
        matches = labels[:, None] == torch.tensor(text.labels, device=labels.device)
        rows = matches.any(dim=1)
        if bool(rows.any()):
            results[scope] = evaluate(
                image_features[rows],
                matches[rows].int().argmax(dim=1),
                text.text_features,
                text.zero_shot_text_features,
                logit_scale,
                probabilities=text.probabilities,
                reference_features=reference_features,
            )
    return results


@dataclass(frozen=True)
class _Row:
    """A classifier whose labels are encoded; its artifact decides the scopes and the held-out images."""

    name: str
    artifact: PromptArtifact
    split: LabelSplit
    texts: dict[Scope, ScopeText]
    is_zero_shot: bool

    def finished(self, dataset: str, results: dict[Scope, ScopeResult]) -> EvaluatedRun:
        if self.is_zero_shot:
            return EvaluatedRun(self.name, dataset, ZERO_SHOT, None, results)
        config = self.artifact.config
        return EvaluatedRun(self.name, dataset, config.method, config.seed, results, self.artifact.tag)


def compare_artifacts(
    artifacts: Mapping[str, PromptArtifact],
    backbones: Mapping[str, Backbone],
    dataset: ImageDataset,
    *,
    zero_shot: bool = True,
    cache: FeatureCache | None = None,
    skip_bad: bool = False,
    progress: Progress = no_progress,
) -> tuple[list[EvaluatedRun], tuple[str, ...]]:
    """Evaluate artifacts on the test images of one data set, each backbone's images encoded once.

    Whatever can be wrong with artifacts and names is found before the first image is read.

    Args:
        artifacts: name -> artifact.
        backbones: digest -> backbone, of all artifacts.
        dataset: what to evaluate on.
        zero_shot: whether the hand-written template is evaluated too, once a backbone and split into scopes.
        cache: of image features; None keeps nothing.
        skip_bad: whether unreadable images are left out; otherwise they are an error.
        progress: shows the long steps.

    Returns:
        The runs, backbone by backbone, zero-shot first; and the images that were left out.

    Raises:
        InvalidInput: no test image of any label, two equal names, or a name that does not fit the text tower.
        IntegrityError: an artifact and its backbone do not fit.
    """
    rows = _rows(artifacts, backbones, dataset, zero_shot)
    names = [row.name for row in rows]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"two rows would be called {', '.join(map(repr, twice))}; give the artifact another name")
    options: dict[str, Any] = {"cache": cache or FeatureCache(None), "skip_bad": skip_bad, "progress": progress}
    runs: list[EvaluatedRun] = []
    skipped: list[str] = []
    for digest, clip in backbones.items():
        own = [row for row in rows if row.artifact.config.backbone.sha256 == digest]
        finished, left_out = _evaluate_rows(own, clip, dataset, options)
        runs += finished
        skipped += left_out
    return runs, tuple(dict.fromkeys(skipped))


def _evaluate_rows(
    rows: Sequence[_Row], clip: Backbone, dataset: ImageDataset, options: dict[str, Any]
) -> tuple[list[EvaluatedRun], list[str]]:
    """The rows of one backbone; test images are encoded once, and held-out images once for all rows with the same ones."""
    test = encode_samples(clip, dataset.test, **options)
    skipped = [*test.skipped]
    references: dict[tuple[int, ...], Tensor] = {}
    runs = []
    for row in rows:
        samples = reference_samples(dataset, row.artifact, row.split)
        key = tuple(id(sample) for sample in samples)
        if samples and key not in references:
            held = encode_samples(clip, samples, **options)
            references[key] = held.image_features[:, 0]
            skipped += held.skipped
        features = test.image_features[:, 0]
        results = evaluate_texts(row.texts, features, test.labels, clip.logit_scale, references.get(key))
        if not results:
            raise InvalidInput(f"{dataset.name} has no test image of the labels that {row.name} can be evaluated on")
        runs.append(row.finished(dataset.name, results))
    return runs, skipped


def _rows(
    artifacts: Mapping[str, PromptArtifact], backbones: Mapping[str, Backbone], dataset: ImageDataset, zero_shot: bool
) -> list[_Row]:
    """All rows with their labels encoded; zero-shot rows are named by what tells them apart."""
    rows: list[_Row] = []
    for digest, clip in backbones.items():
        own = {name: artifact for name, artifact in artifacts.items() if artifact.config.backbone.sha256 == digest}
        splits = {name: split_labels(dataset.classnames, a.config.base_classnames) for name, a in own.items()}
        distinct = [name for i, name in enumerate(own) if splits[name] not in list(splits.values())[:i]]
        for name in distinct if zero_shot else ():
            title = f"{ZERO_SHOT} {clip.name} {digest[:8]}" if len(backbones) > 1 else ZERO_SHOT
            title += f", labels as {name}" if len(distinct) > 1 else ""
            rows.append(_Row(title, own[name], splits[name], zero_shot_text(clip, dataset, splits[name]), True))
        for name, artifact in own.items():
            texts = artifact_text(clip, artifact, dataset, splits[name])
            rows.append(_Row(name, artifact, splits[name], texts, False))
    return rows
