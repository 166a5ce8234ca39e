"""A run of an experiment, named by a digest of everything that decides it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.config import TrainConfig
from training.data import ImageDataset
from training.experiment.recipe import ZERO_SHOT
from training.methods import method_weights, needs_outliers

RUN_SCHEMA = 1  # raise it when a change of the code changes what a run gives; older runs are then run again


def digest(value: Any) -> str:
    """sha256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def dataset_digest(dataset: ImageDataset) -> str:
    """sha256 of a data set's class names, template, and samples in order: label, file, size, and time of last change.

    Files are named from the directory that holds them all: a data set that was moved, or copied with its times, is the same
    one. The pictures are not read. A drawn sample is its label; a file that is missing has neither size nor time.
    """
    parts = {part: getattr(dataset, part) for part in ("train", "val", "test")}
    folders = {s.path.absolute().parent for samples in parts.values() for s in samples if s.path}
    top = os.path.commonpath(folders) if folders else ""
    described = {part: [[s.label, _file(s.path, top)] for s in samples] for part, samples in parts.items()}
    return digest([dataset.name, dataset.classnames, dataset.template, described])


def _file(path: Path | None, top: str) -> tuple[str, int | None, int | None] | None:
    if path is None:
        return None
    name = path.absolute().as_posix()[len(top) :]
    try:
        found = path.stat()
    except OSError:
        return name, None, None
    return name, found.st_size, found.st_mtime_ns


def words_digest(words: Sequence[str], template: str) -> str:
    """sha256 of a vocabulary's words in order, and of the prompt they are ranked by."""
    return digest([list(words), template])


def uses_outliers(method: str) -> bool:
    """Whether a run holds outliers."""
    return method != ZERO_SHOT and needs_outliers(method)


def uses_vocabulary(method: str, config: TrainConfig) -> bool:
    """Whether a run draws its outliers from the vocabulary; an "oracle" takes the new classes' own names."""
    return uses_outliers(method) and config.outliers.selection != "oracle"


@dataclass(frozen=True)
class Job:
    """One classifier on one data set with one seed.

    Attributes:
        row: what its table calls it, for progress and errors.
        dataset: name.
        method: name in METHODS, or "zero-shot".
        config: settings, seed included.
        fresh_views: a new view of each training image in each epoch, instead of `augment.views` that are kept.
        identity: everything that decides the result, as plain JSON values.
        key: name of the run's file, 24 hex digits of the identity's sha256.
    """

    row: str
    dataset: str
    method: str
    config: TrainConfig
    fresh_views: bool
    identity: dict[str, Any] = field(repr=False)
    key: str

    @classmethod
    def of(
        cls, row: str, dataset: str, method: str, config: TrainConfig, digests: dict[str, str], fresh_views: bool = False
    ) -> Job:
        """A job and its identity. Settings that cannot change its result are left out: equal runs are run once.

        Args:
            row: as above.
            dataset: as above.
            method: as above.
            config: as above.
            digests: "backbone", "vocabulary" and "dataset" -> sha256.
            fresh_views: as above.
        """
        used = {name: digests[name] for name in ("backbone", "dataset")}
        identity: dict[str, Any] = {"schema": RUN_SCHEMA, "dataset": dataset, "method": method, "sha256": used}
        if method != ZERO_SHOT:
            identity["weights"] = method_weights(method, config.weights)
            unused = {"weights"} if uses_outliers(method) else {"weights", "outliers"}
            identity |= {"train": config.model_dump(mode="json", exclude=unused), "fresh_views": fresh_views}
            if uses_vocabulary(method, config):
                used["vocabulary"] = digests["vocabulary"]
        return cls(row, dataset, method, config, fresh_views, identity, digest(identity)[:24])

    @property
    def seed(self) -> int | None:
        """Of the run; None for zero-shot, which has none."""
        return None if self.method == ZERO_SHOT else self.config.seed

    @property
    def title(self) -> str:
        """For progress and errors."""
        return f"{self.row} on {self.dataset}" + ("" if self.seed is None else f", seed {self.seed}")
