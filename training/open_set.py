"""Open-set thresholds of an artifact, and how well open-set scores tell unknown images from those of the labels."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candor.calibration.open_set import TRUE_POSITIVE_RATE, OpenSetThreshold, figures, threshold_at
from candor.clip.artifact import PromptArtifact
from candor.clip.backbone import Backbone, Progress, no_progress
from candor.clip.templates import fill
from candor.errors import InvalidInput
from training.artifact_evaluation import ZERO_SHOT, tuned_text
from training.data import ImageDataset, Sample, held_out
from training.features import NOTHING_KEPT, FeatureCache, encode_samples
from training.seen import unseen
from vocab_index.index import VocabularyIndex
from vocab_index.open_set import OpenSet

MAX_COSINE = "max cosine"
OTHER_CLASSES, NO_CLASS = "other classes", "no class"
SHOTS, SEED = 16, 1  # decide which images are held out where no artifact says it
FEWEST_CLASSES = 4  # half of them are the labels, and MCM says nothing of one label

Scorer = Callable[[Tensor], Tensor]


def fit_thresholds(
    image_features: Tensor,
    text_features: Tensor,
    zero_shot_features: Tensor,
    logit_scale: float,
    index: VocabularyIndex | None = None,
    true_positive_rate: float = TRUE_POSITIVE_RATE,
) -> tuple[OpenSetThreshold, ...]:
    """The thresholds that keep a share of held-out images: MCM's, and NegLabel's where there is a vocabulary.

    Args:
        image_features: of held-out images that show one of the labels, (N, D); never test images.
        text_features: of the labels, tuned, (C, D).
        zero_shot_features: of the same labels, (C, D).
        logit_scale: factor from cosine to logit.
        index: vocabulary of the same backbone.
        true_positive_rate: the share, above 0 and at most 1.

    Returns:
        A threshold a score. None at all without images, and none for MCM among one label, where it says nothing.

    Raises:
        InvalidInput: a rate that is none.
    """
    found = []
    for vocabulary in dict.fromkeys((None, index)) if len(image_features) else ():
        if vocabulary is None and len(text_features) < 2:
            continue
        open_set = OpenSet(logit_scale, vocabulary)
        scores = open_set.for_labels(text_features, zero_shot_features).score(image_features)
        found.append(
            OpenSetThreshold(
                score=open_set.method,
                threshold=threshold_at(scores.cpu().numpy(), true_positive_rate),
                true_positive_rate=true_positive_rate,
                images=len(scores),
                labels=len(text_features),
                vocabulary=open_set.vocabulary,
            )
        )
    return tuple(found)


def merged(old: Sequence[OpenSetThreshold], new: Sequence[OpenSetThreshold]) -> tuple[OpenSetThreshold, ...]:
    """Old thresholds with new ones in the place of those of the same score and vocabulary."""
    return tuple({(t.score, t.vocabulary): t for t in (*old, *new)}.values())


@dataclass(frozen=True)
class OpenSetTask:
    """What is evaluated on.

    Attributes:
        dataset: half of its classes are drawn as labels, test images of the others are unknown.
        others: images of none of its classes; may be empty.
    """

    dataset: ImageDataset
    others: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class OpenSetRun:
    """One score of one prompt on one data set and draw of labels, against one kind of unknown images.

    Attributes:
        prompt: "zero-shot" or an artifact's name.
        dataset: name.
        seed: of the draw.
        score: "mcm", "max cosine" or "neglabel".
        unknown: which images are unknown: OTHER_CLASSES or NO_CLASS.
        known_scores, unknown_scores: of the test images.
        threshold: fitted on held-out images of the drawn labels; NaN where there are none.
    """

    prompt: str
    dataset: str
    seed: int
    score: str
    unknown: str
    known_scores: NDArray[np.float32]
    unknown_scores: NDArray[np.float32]
    threshold: float

    def figures(self) -> dict[str, float]:
        """AUROC, FPR95 and AUPR, and the shares of known and of unknown images that the threshold keeps (NaN: none)."""
        kept = {"known_kept": self.known_scores, "unknown_kept": self.unknown_scores}
        none = np.isnan(self.threshold)
        shares = {n: float("nan") if none else float((s >= self.threshold).mean()) for n, s in kept.items()}
        return figures(self.known_scores, self.unknown_scores) | shares


@dataclass(frozen=True)
class _Prompt:
    """A prompt on all classes of a data set, with held-out images that it was not tuned on."""

    name: str
    text_features: Tensor
    zero_shot: Tensor
    held_out: Tensor
    held_out_labels: Tensor


def evaluate_open_set(
    backbone: Backbone,
    tasks: Sequence[OpenSetTask],
    artifacts: Mapping[str, PromptArtifact],
    index: VocabularyIndex | None,
    seeds: Sequence[int],
    *,
    true_positive_rate: float = TRUE_POSITIVE_RATE,
    cache: FeatureCache = NOTHING_KEPT,
    skip_bad: bool = False,
    progress: Progress = no_progress,
) -> tuple[list[OpenSetRun], tuple[str, ...]]:
    """Score known and unknown test images under the zero-shot prompt and each artifact; images are encoded once.

    A seed draws half of the classes as the labels, whether an artifact was tuned on them or not.

    Args:
        backbone: of all artifacts and the index.
        tasks: what to evaluate on.
        artifacts: name -> artifact.
        index: vocabulary for NegLabel; None leaves that out.
        seeds: of the draws.
        true_positive_rate: of the thresholds.
        cache: of image features.
        skip_bad: whether unreadable images are left out; otherwise they are an error.
        progress: shows the long steps.

    Returns:
        The runs, and the images that were left out.

    Raises:
        InvalidInput: no seed, too few classes, no test image of a drawn label or of the others, a class-specific prompt.
        IntegrityError: an artifact was tuned on another backbone.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise InvalidInput(f"seeds must be given and distinct, got {list(seeds)}")
    for task in tasks:
        if len(task.dataset.classnames) < FEWEST_CLASSES:
            found = len(task.dataset.classnames)
            raise InvalidInput(f"{task.dataset.name} has {found} classes; drawing half of them needs {FEWEST_CLASSES}")
    options: dict[str, Any] = {"cache": cache, "skip_bad": skip_bad, "progress": progress}
    runs: list[OpenSetRun] = []
    skipped: list[str] = []
    for task in tasks:
        prompts = list(_prompts(backbone, task.dataset, artifacts, options, skipped))
        test = encode_samples(backbone, task.dataset.test, **options)
        others = encode_samples(backbone, task.others, **options)
        skipped += [*test.skipped, *others.skipped]
        images = (test.image_features[:, 0], test.labels, others.image_features[:, 0])
        for seed in progress(seeds, f"score {task.dataset.name}"):
            for prompt in prompts:
                runs += _runs(backbone.logit_scale, index, task.dataset, prompt, images, seed, true_positive_rate)
    return runs, tuple(dict.fromkeys(skipped))


def _prompts(
    backbone: Backbone,
    dataset: ImageDataset,
    artifacts: Mapping[str, PromptArtifact],
    options: dict[str, Any],
    skipped: list[str],
) -> Iterator[_Prompt]:
    rows: dict[str, PromptArtifact | None] = {ZERO_SHOT: None, **artifacts}
    for name, artifact in rows.items():
        template = artifact.config.template if artifact else dataset.template
        text = zero_shot = backbone.encode_text(fill(template, dataset.classnames))
        samples = held_out(dataset, SHOTS, SEED)
        if artifact is not None:
            if artifact.config.learner.class_specific:
                raise InvalidInput(f"{name} has a context for each of its own classes; it cannot take any label set")
            text = tuned_text(backbone, artifact.learner(backbone), dataset.classnames)
            shots = artifact.config.training.get("shots", SHOTS)
            samples = unseen(artifact, held_out(dataset, shots, artifact.config.seed))
        aside = encode_samples(backbone, samples, **options)
        skipped += aside.skipped
        yield _Prompt(name, text, zero_shot, aside.image_features[:, 0], aside.labels)


def first_of_each(samples: Sequence[Sample], count: int) -> tuple[Sample, ...]:
    """The first samples of each class, at most `count`, in their order."""
    seen: Counter[int] = Counter()
    kept = []
    for sample in samples:
        seen[sample.label] += 1
        if seen[sample.label] <= count:
            kept.append(sample)
    return tuple(kept)


def drawn_labels(dataset: ImageDataset, seed: int) -> list[int]:
    """Half of the classes, rounded down, in their order; the same for every prompt and score."""
    rng = np.random.default_rng([seed, zlib.crc32(dataset.name.encode())])
    return sorted(rng.permutation(len(dataset.classnames))[: len(dataset.classnames) // 2].tolist())


def _runs(
    scale: float,
    index: VocabularyIndex | None,
    dataset: ImageDataset,
    prompt: _Prompt,
    images: tuple[Tensor, Tensor, Tensor],
    seed: int,
    rate: float,
) -> Iterator[OpenSetRun]:
    """All scores of one prompt under one draw, against each kind of unknown images."""
    test, labels, others = images
    rows = torch.tensor(drawn_labels(dataset, seed), device=labels.device)
    known = torch.isin(labels, rows)
    if bool(known.all()) or not bool(known.any()):
        raise InvalidInput(f"{dataset.name}, seed {seed}: test images are all of the drawn labels, or all of the others")
    aside = prompt.held_out[torch.isin(prompt.held_out_labels, rows)]
    for name, score in _scorers(scale, index, prompt.text_features[rows], prompt.zero_shot[rows]).items():
        values, other, kept = (score(features).cpu().numpy() for features in (test, others, aside))
        threshold = threshold_at(kept, rate) if len(kept) else float("nan")
        mask = known.cpu().numpy()
        for kind, unknown in ((OTHER_CLASSES, values[~mask]), (NO_CLASS, other)):
            if len(unknown):
                yield OpenSetRun(prompt.name, dataset.name, seed, name, kind, values[mask], unknown, threshold)


def _scorers(scale: float, index: VocabularyIndex | None, text: Tensor, zero_shot: Tensor) -> dict[str, Scorer]:
    scorers: dict[str, Scorer] = {"mcm": OpenSet(scale).for_labels(text, zero_shot).score}
    scorers[MAX_COSINE] = lambda images: (images.float() @ text.float().T).amax(dim=-1)
    if index is not None:
        scorers["neglabel"] = OpenSet(scale, index).for_labels(text, zero_shot).score
    return scorers
