"""Fitting a post-hoc calibrator to an artifact: on held-out training images of its base classes, never on test images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from candor.calibration import (
    TEMPERATURE_RANGE,
    Calibrator,
    DistanceAwareCalibrator,
    LabelGeometry,
    ReliabilityBins,
    TemperatureCalibrator,
    ece,
    fit_temperature,
    nll,
)
from candor.calibration.open_set import TRUE_POSITIVE_RATE, OpenSetThreshold, check_rate
from candor.clip.artifact import PromptArtifact, Scope
from candor.clip.backbone import Backbone, Progress, no_progress
from candor.errors import InvalidInput
from training.artifact_evaluation import LabelSplit, artifact_text, evaluate_texts, split_labels
from training.data import ImageDataset, Sample, few_shot, held_out
from training.evaluation import ScopeResult
from training.features import NOTHING_KEPT, FeatureCache, encode_samples
from training.open_set import fit_thresholds, merged
from training.seen import unseen
from vocab_index.index import VocabularyIndex

KEEP = "keep"
KINDS = ("temperature", "dac", "dac+temperature", "none", KEEP)
OWN_CONFIDENCE = TemperatureCalibrator()


@dataclass(frozen=True)
class CalibrationFit:
    """A calibrator and what it does to the images that it was fitted on.

    Attributes:
        calibrator: the new one.
        ece_before, ece_after: validation ECE (10 bins) under the present and under the new calibrator.
        nll_before, nll_after: mean negative log-likelihood in nats, likewise.
        images: number of held-out images.
        kept: whether it is the present one.
    """

    calibrator: Calibrator
    ece_before: float
    ece_after: float
    nll_before: float
    nll_after: float
    images: int
    kept: bool = False

    @property
    def objection(self) -> str | None:
        """Why the calibrator should be kept out, as a sentence; None where nothing speaks against it.

        Two things do: validation ECE gets worse, or the images leave the temperature open (it went to an end of its range,
        as where every held-out image is classified right). DAC alone is 1 on base labels, so on these images it changes
        nothing, and can only be worse than a temperature that it replaces. What it does to new labels no held-out image
        can tell. To go back to the model's own confidence (kind "none") is never objected to, nor to keep what is there.
        """
        if self.kept or self.calibrator == OWN_CONFIDENCE:
            return None
        if self.calibrator.temperature in TEMPERATURE_RANGE:
            low, high = TEMPERATURE_RANGE
            end = f"{self.calibrator.temperature:g} is an end of its range {low:g}..{high:g}"
            return f"{self.images} held-out images do not decide a temperature: {end}"
        if self.ece_after > self.ece_before + 1e-12:
            return f"validation ECE would get worse, {100 * self.ece_before:.2f} % -> {100 * self.ece_after:.2f} %"
        return None


@dataclass(frozen=True)
class Calibration:
    """A fit, and the test images of each scope under the present and under the new calibrator.

    Attributes:
        fit: on held-out training images.
        before: under the artifact's present calibrator.
        after: under the new one; this did not decide anything.
        skipped: images that could not be read, and why.
        open_set: the artifact's open-set thresholds, the newly fitted ones among them.
    """

    fit: CalibrationFit
    before: dict[Scope, ScopeResult]
    after: dict[Scope, ScopeResult]
    skipped: tuple[str, ...] = ()
    open_set: tuple[OpenSetThreshold, ...] = ()


def fit_calibrator(
    kind: str,
    logits: Tensor,
    labels: Tensor,
    geometry: LabelGeometry,
    current: Calibrator = OWN_CONFIDENCE,
) -> CalibrationFit:
    """Fit a calibrator to held-out logits.

    "temperature" is fitted by maximum likelihood. "dac" has nothing to fit: it is stored with temperature 1. With
    "dac+temperature" the temperature is fitted to what DAC leaves, as the authors order them. "none" is the model's own
    confidence, and "keep" the present calibrator.

    Args:
        kind: in KINDS.
        logits: (N, C) of held-out images among base labels.
        labels: (N,), each 0..C-1.
        geometry: of the same C labels.
        current: what to compare with.

    Returns:
        The calibrator with its figures before and after.

    Raises:
        InvalidInput: an unknown kind, or see `fit_temperature`.
    """
    _check_kind(kind)
    calibrator: Calibrator = DistanceAwareCalibrator() if kind.startswith("dac") else OWN_CONFIDENCE
    if kind == KEEP:
        calibrator = current
    if kind.endswith("temperature"):
        scaled = logits.double() * calibrator.multiplier(geometry)[logits.argmax(dim=-1, keepdim=True)]
        calibrator = calibrator.model_copy(update={"temperature": fit_temperature(scaled, labels)})
    before, after = (_figures(c, logits, labels, geometry) for c in (current, calibrator))
    return CalibrationFit(calibrator, before[0], after[0], before[1], after[1], len(labels), kind == KEEP)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise InvalidInput(f"unknown kind of calibrator {kind!r}; valid: {', '.join(KINDS)}")


def _figures(calibrator: Calibrator, logits: Tensor, labels: Tensor, geometry: LabelGeometry) -> tuple[float, float]:
    """ECE and NLL."""
    p = calibrator.for_labels(geometry)(logits.double()).clamp(max=1.0).cpu()
    confidence, predicted = p.max(dim=-1)
    truth = labels.cpu()
    return ece(ReliabilityBins.of(confidence.numpy(), (predicted == truth).numpy())), nll(p.numpy(), truth.numpy())


def calibrate(
    backbone: Backbone,
    artifact: PromptArtifact,
    dataset: ImageDataset,
    kind: str,
    *,
    seed: int | None = None,
    index: VocabularyIndex | None = None,
    true_positive_rate: float | None = None,
    cache: FeatureCache = NOTHING_KEPT,
    skip_bad: bool = False,
    progress: Progress = no_progress,
) -> Calibration:
    """Fit a calibrator to an artifact on a data set, and evaluate the artifact under it.

    Args:
        backbone: the one that the artifact was tuned on.
        artifact: any; its own calibrator is compared with.
        dataset: has every base class of the artifact.
        kind: in KINDS.
        seed: of the draw of held-out images; None is the artifact's own, which draws those that tuning watched. Images that
            the prompt was tuned on are never among them.
        index: vocabulary; NegLabel's threshold with it is fitted anew, on the same held-out images. MCM's stays where there
            is one, unless a rate is given.
        true_positive_rate: of new thresholds, 0.95 by default. With neither of the two (and another kind than "keep") the
            artifact's thresholds stay: open-set scores are of cosines, which no calibrator changes.
        cache: of image features.
        skip_bad: whether unreadable images are left out; otherwise they are an error.
        progress: shows the long steps.

    Returns:
        The fit and both evaluations.

    Raises:
        InvalidInput: an unknown kind, a rate that is none, base classes that the data set lacks, no held-out image, or
            unreadable images.
        IntegrityError: the artifact was tuned on another backbone.
    """
    _check_kind(kind)  # before any image is read
    rate = TRUE_POSITIVE_RATE if true_positive_rate is None else check_rate(true_positive_rate)
    options: dict[str, Any] = {"cache": cache, "skip_bad": skip_bad, "progress": progress}
    split = _scopes(artifact, dataset)
    drawn = held_out_samples(artifact, dataset, split["base"], seed)
    samples = unseen(artifact, drawn)
    if not samples:
        raise InvalidInput(f"the prompt was tuned on all {len(drawn)} images that {dataset.name} holds out now")
    tuned_on = len(drawn) - len(samples)
    seen = (f"{tuned_on} held-out images, which the prompt was tuned on",) if tuned_on else ()
    texts = artifact_text(backbone, artifact, dataset, split)
    aside = encode_samples(backbone, samples, **options)
    features, base = aside.image_features[:, 0], texts["base"]
    if not len(features):
        raise InvalidInput(f"none of the {len(samples)} held-out images of {dataset.name} can be read")
    own = (base.text_features, base.zero_shot_text_features)
    logits = backbone.logit_scale * features.float() @ base.text_features.float().T
    geometry = LabelGeometry(*own, *own, torch.ones(len(own[0]), dtype=torch.bool))
    fit = fit_calibrator(kind, logits, aside.labels, geometry, artifact.config.calibrator)
    thresholds = artifact.config.open_set
    if kind == KEEP or index is not None or true_positive_rate is not None:
        fitted = fit_thresholds(features, *own, backbone.logit_scale, index, rate)
        if index is not None and true_positive_rate is None:  # a vocabulary is added; MCM's rate may be another one
            fitted = tuple(t for t in fitted if t.vocabulary or not any(old.score == t.score for old in thresholds))
        thresholds = merged(thresholds, fitted)
    test = encode_samples(backbone, dataset.test, **options)
    images = (test.image_features[:, 0], test.labels, backbone.logit_scale, features)
    before = evaluate_texts(texts, *images)
    changed = artifact.config.model_copy(update={"calibrator": fit.calibrator})
    after = evaluate_texts(artifact_text(backbone, PromptArtifact(changed, artifact.ctx), dataset, split), *images)
    return Calibration(fit, before, after, (*seen, *aside.skipped, *test.skipped), thresholds)


def _scopes(artifact: PromptArtifact, dataset: ImageDataset) -> LabelSplit:
    """The split of the data set's labels; only base for a context that knows no other names."""
    config = artifact.config
    split = split_labels(dataset.classnames, config.base_classnames)
    found = len(split.get("base", ()))
    if found != len(config.base_classnames):
        raise InvalidInput(
            f"the artifact was tuned on {len(config.base_classnames)} base classes, of which {dataset.name} has {found}; "
            "calibrate it on the data set that it was tuned on"
        )
    return {"base": split["base"]} if config.learner.class_specific else split


def held_out_samples(
    artifact: PromptArtifact, dataset: ImageDataset, base: tuple[int, ...], seed: int | None = None
) -> list[Sample]:
    """Held-out images of base classes, at most 4 a class, none of which the prompt was tuned on.

    Args:
        artifact: says its shots and its seed.
        dataset: gives `val` and training images.
        base: the data set's numbers of the base labels.
        seed: of the draw; None is the artifact's own.

    Returns:
        The samples, labels counted within `base`.

    Raises:
        InvalidInput: the artifact does not say its shots, or no image is left.
    """
    shots, own = artifact.config.training.get("shots"), artifact.config.seed
    if not isinstance(shots, int):
        raise InvalidInput("the artifact does not say on how many shots it was tuned, so no image is surely held out")
    if seed is not None and seed != own:
        with_val = {s.label for s in dataset.val}
        shown = {id(s) for s in few_shot(dataset.train, shots, own)}
        rest = (s for s in dataset.train if s.label not in with_val and id(s) not in shown)
        dataset = dataclasses.replace(dataset, train=(), val=(*dataset.val, *rest))
        own = seed
    place = {label: index for index, label in enumerate(base)}
    samples = held_out(dataset, shots, own)
    kept = [dataclasses.replace(s, label=place[s.label]) for s in samples if s.label in place]
    if not kept:
        raise InvalidInput(
            f"{dataset.name} has no image to fit on: no validation part, and all training images of base classes are "
            "shots; add a val/ folder, or tune with fewer --shots"
        )
    return kept
