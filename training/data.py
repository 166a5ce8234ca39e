"""Labelled image data sets, few-shot draws and the split into base and new classes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from candor.clip.artifact import Scope
from candor.errors import InvalidInput


@dataclass(frozen=True)
class Sample:
    """One labelled image, opened when it is needed."""

    label: int
    open: Callable[[], Image.Image]


@dataclass(frozen=True)
class ImageDataset:
    """A data set for base-to-new tuning.

    Attributes:
        name: what `--dataset` calls it.
        classnames: all classes; a label is an index of this.
        template: the hand-written prompt of its zero-shot classifier.
        train: where shots are drawn from.
        test: what is reported.
    """

    name: str
    classnames: tuple[str, ...]
    template: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]


def scope_labels(dataset: ImageDataset) -> dict[Scope, range]:
    """Base is the first ceil(n/2) labels by number, new the rest (CoOp's protocol)."""
    n = len(dataset.classnames)
    if n < 4:
        raise InvalidInput(f"{dataset.name} has {n} classes; a base/new split needs at least 4")
    return {"base": range(math.ceil(n / 2)), "new": range(math.ceil(n / 2), n)}


def classnames_of(dataset: ImageDataset, scope: Scope) -> tuple[str, ...]:
    """Names of the classes in one scope."""
    labels = scope_labels(dataset)[scope]
    return dataset.classnames[labels.start : labels.stop]


def few_shot(samples: Sequence[Sample], shots: int, seed: int) -> list[Sample]:
    """Draw `shots` samples of every class; a class with fewer keeps all it has.

    The draw is made over all classes, before any base/new split, so it does not depend on the split or on the method.

    Args:
        samples: of all classes.
        shots: k.
        seed: equal seeds give equal draws.
    """
    if shots < 1:
        raise InvalidInput(f"shots must be at least 1, got {shots}")
    by_label: dict[int, list[Sample]] = {}
    for sample in samples:
        by_label.setdefault(sample.label, []).append(sample)
    rng = random.Random(seed)
    return [s for label in sorted(by_label) for s in rng.sample(by_label[label], min(shots, len(by_label[label])))]


def in_scope(samples: Sequence[Sample], labels: range) -> list[Sample]:
    """The samples of one scope, labels counted from 0 within it."""
    return [Sample(s.label - labels.start, s.open) for s in samples if s.label in labels]
