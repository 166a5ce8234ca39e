"""Keeping a finished run as an artifact."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from candor.calibration.open_set import OpenSetThreshold
from candor.clip.artifact import BackboneRef, PromptArtifact, Scope, save_artifact
from candor.clip.backbone import Backbone
from training.checkpoint import History
from training.config import TrainConfig
from training.data import ImageDataset, classnames_of
from training.evaluation import ScopeResult
from training.methods import method_weights
from training.plots import training_curves
from training.run import Tuned

HISTORY, CURVES = "history.json", "training.png"


def write_artifact(
    path: Path,
    backbone: Backbone,
    tuned: Tuned,
    dataset: ImageDataset,
    method: str,
    config: TrainConfig,
    results: dict[Scope, ScopeResult],
    replace: bool = False,
    open_set: tuple[OpenSetThreshold, ...] = (),
) -> PromptArtifact:
    """Write a tuned learner with its evaluation, its reference distributions and the curves of its training.

    Args:
        path: directory to make.
        backbone: that it was tuned on.
        tuned: the run.
        dataset: that it was tuned on.
        method: such as "coop+dor".
        config: the recipe.
        results: of `evaluate_learner`.
        replace: whether an existing directory is replaced.
        open_set: of `fit_thresholds`.
    """
    return save_artifact(
        path,
        tuned.learner,
        replace,
        partial(_report, method=method, history=tuned.history),
        backbone=BackboneRef.of(backbone),
        method=method,
        regularizers=method_weights(method, config.weights),
        base_classnames=classnames_of(dataset, "base"),
        open_set=open_set,
        template=dataset.template,
        reference={scope: result.reference() for scope, result in results.items()},
        evaluation={scope: result.figures() for scope, result in results.items()},
        training=training_record(dataset.name, config),
        seed=config.seed,
        shots=tuned.shots,
    )


def training_record(dataset: str, config: TrainConfig) -> dict[str, Any]:
    """What an artifact says of its training."""
    return {"dataset": dataset, **config.model_dump(mode="json")}


def _report(directory: Path, method: str, history: History) -> None:
    (directory / HISTORY).write_text(json.dumps(history, indent=1) + "\n")
    training_curves(directory / CURVES, {method: history}, f"Training of {method}")
