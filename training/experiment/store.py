"""Finished runs as files, one each, written whole."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from candor.clip.artifact import Scope
from candor.files import write_whole
from training.evaluation import ScopeResult
from training.experiment.job import Job
from training.report import Figures, json_figures


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoredScope(_Record):
    """One scope of a run.

    Attributes:
        n_labels: labels that an image was classified among.
        figures: of `ScopeResult.figures()`; None where one is not defined.
        confidence: of the predicted class, an image each, exactly.
        correct: 1 where the prediction was right, else 0.
    """

    n_labels: int
    figures: Figures
    confidence: list[float]
    correct: list[int]

    @classmethod
    def of(cls, result: ScopeResult) -> StoredScope:
        """The record of an evaluated scope."""
        return cls(
            n_labels=result.n_labels,
            figures=json_figures(result.figures()),
            confidence=result.confidence.tolist(),
            correct=result.correct.astype(int).tolist(),
        )

    def result(self) -> ScopeResult:
        """The evaluated scope again: predictions, and the figures that need more than them."""
        names = {f.name for f in fields(ScopeResult)}
        kept = {n: math.nan if value is None else value for n, value in self.figures.items() if n in names - {"confidence"}}
        confidence, correct = np.array(self.confidence, np.float64), np.array(self.correct, bool)
        return ScopeResult(confidence, correct, n_labels=self.n_labels, **kept)


class StoredRun(_Record):
    """One finished run, a file.

    Attributes:
        identity: what decided it.
        scopes: its results on base and new.
        history: terms of each epoch, in order.
        prompt: the learner's state, safetensors in base64; None for zero-shot.
        prompt_sha256: of the safetensors.
        seconds: how long it took, without the preparation that runs share.
        environment: versions of Python, torch and Candor, and the device.
    """

    identity: dict[str, Any]
    scopes: dict[Scope, StoredScope]
    history: list[dict[str, float]] = []
    prompt: str | None = None
    prompt_sha256: str | None = None
    seconds: float
    environment: dict[str, str]

    def results(self) -> dict[Scope, ScopeResult]:
        """Its results on base and new."""
        return {scope: stored.result() for scope, stored in self.scopes.items()}

    def state(self) -> dict[str, Tensor]:
        """The learner's state; empty for zero-shot."""
        return safetensors.torch.load(base64.b64decode(self.prompt)) if self.prompt else {}


def packed_state(state: Mapping[str, Tensor]) -> dict[str, str]:
    """`prompt` and `prompt_sha256` of a learner's state."""
    data = safetensors.torch.save({name: value.cpu().contiguous() for name, value in state.items()})
    return {"prompt": base64.b64encode(data).decode(), "prompt_sha256": hashlib.sha256(data).hexdigest()}


class RunStore:
    """A directory with a JSON file for each finished run.

    Args:
        directory: made when the first run is saved.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, job: Job) -> Path:
        """The file of a job."""
        return self.directory / f"{job.key}.json"

    def load(self, job: Job) -> StoredRun | None:
        """The finished run of a job; None where there is none, or a file that is damaged or of something else."""
        try:
            record = StoredRun.model_validate_json(self.path(job).read_bytes())
        except (OSError, ValidationError):
            return None
        return record if record.identity == job.identity else None

    def save(self, job: Job, record: StoredRun) -> None:
        """Write a run whole or not at all."""
        write_whole(self.path(job), record.model_dump_json() + "\n")
