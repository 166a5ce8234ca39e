"""Runs spread over processes. A failed run does not stop the others, and a lost process does not lose the rest."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from training.experiment.job import Job
from training.experiment.worker import WorkerSpec, prepare_dataset, run_job, start

OnStep = Callable[[str, int, int], None]
Failure = tuple[str, str]  # what failed, and why


def run_jobs(spec: WorkerSpec, workers: int, todo: list[Job], on_step: OnStep) -> list[Failure]:
    """Run jobs; each is kept as a file as soon as it ends.

    A pool that lost a process (the system may kill one for memory) is replaced as long as each gets further.

    Args:
        spec: what a worker needs.
        workers: processes; 0 runs everything in this one.
        todo: jobs, no two alike.
        on_step: called after each step with its description, steps done, and steps in all.

    Returns:
        What failed, and why.
    """
    failures: list[Failure] = []
    while todo:
        current = _Round(todo, on_step)
        try:
            with _pool(spec, workers) as pool:
                current.run(pool)
        except BrokenProcessPool:
            pass
        failures += current.failures
        todo = [job for job in todo if job.key not in current.settled]
        if not current.settled:
            why = "its process was killed, perhaps for memory; try fewer --workers"
            return failures + [(job.title, why) for job in todo]
    return failures


@dataclass
class _Round:
    """The jobs of one pool, and how far it has come."""

    todo: list[Job]
    on_step: OnStep
    settled: set[str] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    done: int = 0

    def run(self, pool: Executor) -> None:
        """Prepare each data set, then submit its jobs.

        Raises:
            BrokenProcessPool: a process was killed; what it had is not settled.
        """
        by_dataset: dict[str, list[Job]] = {}
        for job in self.todo:
            by_dataset.setdefault(job.dataset, []).append(job)
        steps = len(self.todo) + len(by_dataset)
        preparing: dict[Future[Any], str] = {pool.submit(prepare_dataset, name): name for name in by_dataset}
        running: dict[Future[Any], Job] = {}
        while preparing or running:
            ended, _ = wait([*preparing, *running], return_when=FIRST_COMPLETED)
            for future in ended:
                if future in preparing:
                    name = preparing.pop(future)
                    shared, problem = future.result()
                    if problem is None:
                        running |= {pool.submit(run_job, job, shared): job for job in by_dataset[name]}
                    self._step(f"images of {name}", by_dataset[name] if problem else (), problem, steps)
                else:
                    job = running.pop(future)
                    self._step(job.title, [job], future.result(), steps)

    def _step(self, description: str, settles: Sequence[Job], problem: str | None, steps: int) -> None:
        self.settled |= {job.key for job in settles}
        if problem is not None:
            self.failures.append((description, problem))
        self.done += 1
        self.on_step(description, self.done, steps)


@contextmanager
def _pool(spec: WorkerSpec, workers: int) -> Iterator[Executor]:
    """Worker processes, or a thread of this process where `workers` is 0; no process is left behind."""
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    pool: Executor = (
        ProcessPoolExecutor(workers, context, start, (spec,)) if workers else ThreadPoolExecutor(1, "run", start, (spec,))
    )
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
