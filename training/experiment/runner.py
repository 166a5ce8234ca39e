"""Running an experiment: what is finished is read, the rest is run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from candor.clip.backbone import Backbone, Progress, no_progress
from candor.errors import CandorError, InvalidInput
from training.experiment.job import Job, uses_vocabulary
from training.experiment.plan import Tables, Vocabulary, plan
from training.experiment.pool import Failure, OnStep, run_jobs
from training.experiment.recipe import Experiment
from training.experiment.store import RunStore, StoredRun
from training.experiment.worker import WorkerSpec
from training.report import EvaluatedRun
from vocab_index.index import VocabularyIndex


@dataclass(frozen=True)
class Resources:
    """What an experiment runs on; none of it decides a result.

    Attributes:
        out: directory of the experiment.
        workers: processes; 0 runs everything in this one.
        root: of the data sets.
        cache: directory of the feature cache; None keeps no features.
        index: directory of a vocabulary index that is there already; None builds one in `out`.
    """

    out: Path
    workers: int
    root: Path | None = None
    cache: Path | None = None
    index: Path | None = None


@dataclass(frozen=True)
class Finished:
    """What an experiment gave.

    Attributes:
        tables: every row's jobs.
        records: key of a job -> its run; failed ones are not there.
        failures: what failed, and why.
        ran: runs made by this call; the others were there already.
        seconds: wall-clock of this call.
        workers: processes of this call.
    """

    tables: Tables
    records: dict[str, StoredRun]
    failures: list[Failure]
    ran: int
    seconds: float
    workers: int

    def runs(self, table: str, row: str) -> list[EvaluatedRun]:
        """The finished runs of a row, data set by data set."""
        jobs = [job for job in self.tables[table][row] if job.key in self.records]
        return [EvaluatedRun(row, j.dataset, j.method, j.seed, self.records[j.key].results()) for j in jobs]


def run_experiment(
    experiment: Experiment,
    backbone: Backbone,
    vocabulary: Vocabulary,
    resources: Resources,
    replace: bool = False,
    on_step: OnStep = lambda *_: None,
    progress: Progress = no_progress,
) -> Finished:
    """Run what is not finished, and read the rest.

    A run is kept as soon as it ends, so a killed experiment goes on where it stopped. A failed run does not stop others.

    Args:
        experiment: what to run.
        backbone: frozen; processes load it again by name.
        vocabulary: where DOR's outliers come from; encoded only where a run needs it.
        resources: where and how.
        replace: forget finished runs of this experiment before the first one is run.
        on_step: called after each step with its description, steps done, and steps in all.
        progress: of encoding the vocabulary.

    Raises:
        InvalidInput: data sets that cannot be read, a given index of another vocabulary or backbone, or a directory that
            cannot be written.
    """
    begin = time.perf_counter()
    tables = plan(experiment, backbone, vocabulary, resources.root)
    jobs = _distinct(tables)
    spec = _worker_spec(backbone, resources)
    found = {} if replace else _read(spec.store, jobs)
    todo = [job for job in jobs if job.key not in found]
    needs_index = any(uses_vocabulary(job.method, job.config) for job in todo)
    lacking = _index_problem(spec.index, backbone, vocabulary) if needs_index else None
    if lacking and resources.index:
        raise InvalidInput(lacking)
    _make(spec.store.directory)
    if lacking:
        VocabularyIndex.build(backbone, vocabulary.words, vocabulary.template, progress).save(spec.index, replace=True)
    if replace:  # not before everything that may be wrong has been looked at
        for job in jobs:
            spec.store.path(job).unlink(missing_ok=True)
    failures = run_jobs(spec, resources.workers, todo, on_step)
    if spec.checkpoints.is_dir() and not any(spec.checkpoints.iterdir()):
        spec.checkpoints.rmdir()
    made = _read(spec.store, todo)
    seconds = time.perf_counter() - begin
    return Finished(tables, found | made, failures, len(made), seconds, max(resources.workers, 1))


def _distinct(tables: Tables) -> list[Job]:
    """Each job once, though several rows may show it."""
    jobs: dict[str, Job] = {}
    for job in (job for rows in tables.values() for row in rows.values() for job in row):
        jobs.setdefault(job.key, job)
    return list(jobs.values())


def _read(store: RunStore, jobs: list[Job]) -> dict[str, StoredRun]:
    return {job.key: record for job in jobs if (record := store.load(job)) is not None}


def _worker_spec(backbone: Backbone, resources: Resources) -> WorkerSpec:
    return WorkerSpec(
        model=backbone.name,
        pretrained=backbone.pretrained,
        backbone_sha256=backbone.digest,
        device=str(backbone.device),
        out=resources.out,
        index=resources.index or resources.out / "index",
        root=resources.root,
        cache=resources.cache,
        backbone=backbone if resources.workers == 0 else None,
    )


def _index_problem(path: Path, backbone: Backbone, vocabulary: Vocabulary) -> str | None:
    """What keeps the index at a path from being one of exactly this vocabulary; None where nothing does."""
    try:
        index = VocabularyIndex.load(path, backbone)
        if (index.words, index.templates) == (vocabulary.words.words, (vocabulary.template,)):
            return None
        found = f"{len(index)} words of {index.source} under {' and '.join(map(repr, index.templates))}"
    except CandorError as error:
        found = str(error)
    wanted = f"{len(vocabulary.words.words)} words of {vocabulary.words.source} under {vocabulary.template!r}"
    return f"{path}: the recipe needs an index of {wanted}, found {found}"


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"cannot write to {directory.parent}: {error.strerror}") from error
