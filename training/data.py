"""Labelled image data sets, few-shot draws and the split into base and new classes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from candor.clip.artifact import Scope
from candor.errors import InvalidInput

MAX_HELD_OUT = 4  # a class; CoOp's protocol caps its validation draw there


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image, opened when it is needed.

    Attributes:
        label: index of the data set's classnames (or of a scope's, after `in_scope`).
        open: gives the picture as RGB; raises `UnreadableImage`, which names the file.
        path: the file whose bytes are the picture; None where it is drawn.
    """

    label: int
    open: Callable[[], Image.Image]
    path: Path | None = None


@dataclass(frozen=True)
class ImageDataset:
    """A data set for base-to-new tuning.

    Attributes:
        name: what `--dataset` calls it.
        classnames: all classes; a label is an index of this.
        template: the hand-written prompt of its zero-shot classifier.
        train: where shots are drawn from; empty where the data set is for testing only.
        test: what is reported.
        val: held-out images that are neither; may be empty.
        ignored: files in its folders that are hidden or no images, where it was made by looking into folders.
    """

    name: str
    classnames: tuple[str, ...]
    template: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    val: tuple[Sample, ...] = ()
    ignored: int = 0


def scope_labels(dataset: ImageDataset) -> dict[Scope, range]:
    """Base is the first ceil(n/2) labels by number, new the rest (CoOp's protocol).

    Raises:
        InvalidInput: there are fewer than 4 classes.
    """
    n = len(dataset.classnames)
    if n < 4:
        raise InvalidInput(f"{dataset.name} has {n} classes; a base/new split needs at least 4")
    return {"base": range(math.ceil(n / 2)), "new": range(math.ceil(n / 2), n)}


def classnames_of(dataset: ImageDataset, scope: Scope) -> tuple[str, ...]:
    """Names of the classes in one scope."""
    labels = scope_labels(dataset)[scope]
    return dataset.classnames[labels.start : labels.stop]


def in_scope(samples: Sequence[Sample], labels: range) -> list[Sample]:
    """The samples of one scope, labels counted from 0 within it."""
    return [replace(s, label=s.label - labels.start) for s in samples if s.label in labels]


def few_shot(samples: Sequence[Sample], shots: int, seed: int) -> list[Sample]:
    """Draw `shots` samples of every class; a class with fewer keeps all it has.

    The draw is that of CoOp's code: `random.seed(seed)`, then one `random.sample(items, shots)` a class, classes in the
    order in which they first appear (label order for most data sets; the split files of the flowers and the cars are
    listed otherwise). It is made over all classes, before any base/new split, so it depends neither on the split nor on
    the method. Source: Dassl.pytorch, dassl/data/datasets/base_dataset.py.

    Args:
        samples: of all classes.
        shots: k.
        seed: equal seeds give equal draws.

    Returns:
        The samples, class by class in that order.

    Raises:
        InvalidInput: shots is below 1.
    """
    return _draw(_by_label(samples), _checked(shots), random.Random(seed))


def held_out(dataset: ImageDataset, shots: int, seed: int) -> list[Sample]:
    """Draw min(shots, 4) samples a class that tuning on `few_shot(dataset.train, shots, seed)` does not see.

    They come from `val` for a class that has any there, else from the training images that were not drawn as shots.
    Test images are never touched: a temperature fitted on them would be fitted on what is reported. The generator goes on
    from the draw of the shots, as in CoOp's code, so `val` gives the images that its validation set has.

    Args:
        dataset: where to draw from.
        shots: k of the tuning run.
        seed: of the tuning run.

    Returns:
        The samples; a class whose images are all shots has none.

    Raises:
        InvalidInput: shots is below 1.
    """
    rng = random.Random(seed)
    shown = {id(s) for s in _draw(_by_label(dataset.train), _checked(shots), rng)}
    pool = _by_label(dataset.val)
    for label, items in _by_label(dataset.train).items():
        if label not in pool:
            pool[label] = [s for s in items if id(s) not in shown]
    return _draw(pool, min(shots, MAX_HELD_OUT), rng)


def _checked(shots: int) -> int:
    if shots < 1:
        raise InvalidInput(f"shots must be at least 1, got {shots}")
    return shots


def _by_label(samples: Iterable[Sample]) -> dict[int, list[Sample]]:
    """Samples of each label, labels in the order in which they first appear."""
    groups: dict[int, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.label, []).append(sample)
    return groups


def _draw(groups: dict[int, list[Sample]], count: int, rng: random.Random) -> list[Sample]:
    """`count` of each group; a smaller group is kept as it is and takes nothing from the generator."""
    return [s for items in groups.values() for s in (items if len(items) < count else rng.sample(items, count))]
