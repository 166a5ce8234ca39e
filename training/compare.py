"""Several methods on several tasks and seeds, side by side; runs are spread over processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import torch

import glyph_world
from candor.calibration.bins import ReliabilityBins
from candor.clip.artifact import SCOPES, Scope
from candor.clip.backbone import Backbone, load_backbone
from training.config import TrainConfig
from training.datasets import load_dataset
from training.evaluation import ScopeResult
from training.methods import method_weights
from training.run import Features, evaluate_learner, evaluate_zero_shot, find_outliers, prepare, tune
from vocab_index.index import Outliers, VocabularyIndex

ZERO_SHOT = "zero-shot"


@dataclass(frozen=True)
class RunResult:
    """One classifier on one data set.

    Attributes:
        dataset: name of the data set.
        method: name in METHODS, or "zero-shot".
        seed: of the run.
        scopes: its results on base and new.
        ctx: the tuned context; None for zero-shot.
    """

    dataset: str
    method: str
    seed: int
    scopes: dict[Scope, ScopeResult]
    ctx: torch.Tensor | None = None


_backbone: Backbone


def _start_worker(model: str, pretrained: str | None) -> None:
    global _backbone
    torch.set_num_threads(1)  # the workers are the parallelism
    glyph_world.register()
    _backbone = load_backbone(model, pretrained)


def _prepare(dataset: str) -> Features:
    return prepare(_backbone, load_dataset(dataset))


def _run(dataset: str, method: str, features: Features, outliers: Outliers | None, config: TrainConfig) -> RunResult:
    data = load_dataset(dataset)
    learner = tune(_backbone, data, features, method, config, outliers)
    results = evaluate_learner(_backbone, learner, data, features)
    return RunResult(dataset, method, config.seed, results, learner.state_dict()["ctx"])


def compare(
    backbone: Backbone,
    index: VocabularyIndex,
    datasets: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    config: TrainConfig,
    on_done: Callable[[str], None],
) -> list[RunResult]:
    """Tune every method on every data set with every seed, and evaluate zero-shot beside it.

    Args:
        backbone: frozen; workers load it again by name.
        index: vocabulary that DOR's outliers are drawn from.
        datasets: names.
        methods: names in METHODS.
        seeds: one run each; shots, order and outliers of a seed are the same for every method.
        config: the recipe; its seed is replaced.
        on_done: called after each finished step with its description; there are len(datasets) * (1 + methods x seeds).

    Returns:
        The results, data set by data set.
    """
    with ProcessPoolExecutor(
        os.cpu_count() or 1,
        multiprocessing.get_context("spawn"),  # torch's threads do not survive a fork
        _start_worker,
        (backbone.name, backbone.pretrained),
    ) as pool:
        prepared: dict[str, Features] = {}
        for name, features in zip(datasets, pool.map(_prepare, datasets), strict=True):
            prepared[name] = features
            on_done(f"images of {name}")
        results = [RunResult(name, ZERO_SHOT, 0, evaluate_zero_shot(backbone, prepared[name])) for name in datasets]
        jobs = {}
        for name in datasets:
            outliers = find_outliers(backbone, index, load_dataset(name), prepared[name], config)
            for seed in seeds:
                for method in methods:
                    run = config.model_copy(update={"seed": seed})
                    chosen = outliers if "dor" in method_weights(method, run.weights) else None
                    jobs[pool.submit(_run, name, method, prepared[name], chosen, run)] = f"{method} on {name}, seed {seed}"
        for job in as_completed(jobs):
            results.append(job.result())
            on_done(jobs[job])
    return sorted(results, key=lambda r: (datasets.index(r.dataset), r.method, r.seed))


def summarise(results: Sequence[RunResult], method: str) -> dict[Scope, dict[str, dict[str, float]]]:
    """Each figure of a method: its mean over data sets, then mean and standard deviation over seeds."""
    chosen = [r for r in results if r.method == method]
    seeds = sorted({r.seed for r in chosen})
    summary: dict[Scope, dict[str, dict[str, float]]] = {}
    for scope in SCOPES:
        by_seed = [[r.scopes[scope].figures() for r in chosen if r.seed == seed] for seed in seeds]
        names = by_seed[0][0]
        table = {name: [float(np.mean([run[name] for run in runs])) for runs in by_seed] for name in names}
        summary[scope] = {
            name: {"mean": float(np.mean(v)), "std": float(np.std(v, ddof=1)) if len(v) > 1 else 0.0}
            for name, v in table.items()
        }
    return summary


def pooled_bins(results: Sequence[RunResult], method: str) -> dict[str, ReliabilityBins]:
    """The reliability bins of all runs of a method added up, per scope (for the diagram; ECE is averaged over runs)."""
    chosen = [r for r in results if r.method == method]
    return {scope: reduce(add, (r.scopes[scope].bins for r in chosen)) for scope in SCOPES}
