"""What a process of an experiment does: prepare a data set, or tune, evaluate and keep one run.

The only place that calls `training.run` for an experiment.
"""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

import numpy as np
import torch

import glyph_world
from candor.clip.backbone import Backbone, load_backbone
from candor.errors import CandorError
from training.checkpoint import discard_checkpoint
from training.data import ImageDataset
from training.datasets import load_dataset
from training.evaluation import ScopeResult
from training.experiment.job import Job, uses_outliers, uses_vocabulary
from training.experiment.recipe import ZERO_SHOT
from training.experiment.store import RunStore, StoredRun, StoredScope, packed_state
from training.features import FeatureCache
from training.outliers import find_outliers
from training.run import Images, encode_shots, evaluate_learner, evaluate_zero_shot, prepare, tune
from vocab_index.index import VocabularyIndex
from vocab_index.outliers import OutlierPool


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker needs to start.

    Attributes:
        model: name of the backbone.
        pretrained: its weights.
        backbone_sha256: digest that they must have.
        device: of all runs.
        out: directory of the experiment; the runs are kept in its `runs/`.
        index: directory of the vocabulary index; there where a run needs it.
        root: of the data sets.
        cache: directory of the feature cache; None keeps no features.
        backbone: to use as it is, where the worker is this process.
    """

    model: str
    pretrained: str
    backbone_sha256: str
    device: str
    out: Path
    index: Path
    root: Path | None = None
    cache: Path | None = None
    backbone: Backbone | None = None

    @property
    def store(self) -> RunStore:
        """Where runs are kept."""
        return RunStore(self.out / "runs")

    @property
    def checkpoints(self) -> Path:
        """Where runs that are not finished keep their last epoch."""
        return self.out / "checkpoints"


class Worker:
    """One process's backbone and what it has read so far.

    Args:
        spec: of the experiment.

    Raises:
        CandorError: the weights are not those that the experiment was started with.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        glyph_world.register()
        self.backbone = spec.backbone or load_backbone(spec.model, spec.pretrained, spec.device)
        if self.backbone.digest != spec.backbone_sha256:
            raise CandorError(f"{spec.model} has other weights in a second process; {spec.pretrained!r} cannot be shared")
        self.images = Images(FeatureCache(spec.cache))
        self.dataset = lru_cache(maxsize=2)(self._dataset)
        self.index = lru_cache(maxsize=1)(self._index)

    def _dataset(self, name: str) -> ImageDataset:
        return load_dataset(name, self.spec.root)

    def _index(self) -> VocabularyIndex:
        return VocabularyIndex.load(self.spec.index, self.backbone)

    def prepare(self, dataset: str) -> Any:
        """Features that all runs on a data set share, packed for another process."""
        return packed(prepare(self.backbone, self.dataset(dataset), self.images))

    def run(self, job: Job, shared: Any) -> None:
        """Tune, evaluate, and keep the run as a file at once.

        Args:
            job: what to run.
            shared: of `prepare`.
        """
        start = time.perf_counter()
        features = unpacked(shared, self.backbone.device)
        if job.method == ZERO_SHOT:
            self._keep(job, start, evaluate_zero_shot(self.backbone, features))
            return
        dataset = self.dataset(job.dataset)
        outliers: OutlierPool | None = None
        if uses_outliers(job.method):
            index = self.index() if uses_vocabulary(job.method, job.config) else None
            outliers = find_outliers(self.backbone, index, dataset, features, job.config)
        shots = encode_shots(self.backbone, dataset, job.config, replace(self.images, fresh=job.fresh_views))
        checkpoint = self.spec.checkpoints / f"{job.key}.safetensors"
        tuned = tune(self.backbone, dataset, features, shots, job.method, job.config, outliers, checkpoint=checkpoint)
        results = evaluate_learner(self.backbone, tuned.learner, dataset, features, shots.held_out[0])
        self._keep(job, start, results, history=tuned.history, **packed_state(tuned.learner.state_dict()))
        discard_checkpoint(checkpoint)

    def _keep(self, job: Job, start: float, results: dict[Any, ScopeResult], **tuned: Any) -> None:
        record = StoredRun(
            identity=job.identity,
            scopes={s: StoredScope.of(r) for s, r in results.items()},
            seconds=time.perf_counter() - start,
            environment=environment(self.backbone),
            **tuned,
        )
        self.spec.store.save(job, record)


def environment(backbone: Backbone) -> dict[str, str]:
    """Versions and device that a run was made with."""
    device = backbone.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"candor": version("candor"), "torch": torch.__version__, "python": platform.python_version(), "device": name}


def packed(value: Any) -> Any:
    """A value with its tensors as arrays, so that it goes to another process as bytes (torch would use shared memory)."""
    return _mapped(value, lambda leaf: leaf.cpu().numpy() if isinstance(leaf, torch.Tensor) else leaf)


def unpacked(value: Any, device: torch.device) -> Any:
    """The value of `packed`, its tensors on a device."""
    return _mapped(value, lambda leaf: torch.from_numpy(leaf).to(device) if isinstance(leaf, np.ndarray) else leaf)


def _mapped(value: Any, change: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: _mapped(getattr(value, f.name), change) for f in fields(value)})
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_mapped(item, change) for item in value)
    return change(value)


_spec: WorkerSpec


def start(spec: WorkerSpec) -> None:
    """Make this process a worker; it ends when its parent does, however that ends."""
    global _spec
    parent = parent_process()
    if parent is not None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker without a traceback of its own
        torch.set_num_threads(1)  # the workers are the parallelism; and one thread gives equal bits on any machine's cores
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    _spec = spec
    _worker.cache_clear()


def _follow(parent: int) -> None:
    connection.wait([parent])
    os._exit(1)


@lru_cache(maxsize=1)
def _worker() -> Worker:
    return Worker(_spec)


def prepare_dataset(name: str) -> tuple[Any, str | None]:
    """`Worker.prepare` in this process: the packed features, or None and what went wrong."""
    return _guarded(lambda: _worker().prepare(name))


def run_job(job: Job, shared: Any) -> str | None:
    """`Worker.run` in this process: None, or what went wrong."""
    return _guarded(lambda: _worker().run(job, shared))[1]


def _guarded(call: Callable[[], Any]) -> tuple[Any, str | None]:
    """Errors cross processes as text: an exception that cannot be pickled would take the pool with it."""
    try:
        return call(), None
    except CandorError as error:
        return None, str(error)
    except Exception:
        return None, traceback.format_exc().strip()
