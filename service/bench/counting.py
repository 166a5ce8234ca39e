"""What it costs to count an answer. In a process of its own: whether counts are shared is decided when it begins."""

from __future__ import annotations

import os
import tempfile
import timeit
from types import SimpleNamespace
from typing import Any, cast

import torch

from service.bench.processes import Helper
from service.classifier import Prediction
from service.label_set import LabelSet
from service.metrics import ServiceMetrics
from service.open_set import OpenSetAnswer
from vocab_index.bench.figures import Figure

SECTION = "metrics"
MOST = 60e-6  # seconds for an answer of one image
CALLS, REPEATS = 2000, 7


def counting() -> list[Figure]:
    """The time of `ServiceMetrics.answered` for one image with an open-set answer, alone and among several workers."""
    with tempfile.TemporaryDirectory(prefix="candor-bench-") as folder:
        found = {}
        for name, shared in (("one process", None), ("workers that share", folder)):
            with Helper() as own:
                found[name] = own.call(seconds_of_an_answer, shared)
    return [Figure(SECTION, f"counting an answer, {name}", seconds, most=MOST) for name, seconds in found.items()]


def seconds_of_an_answer(shared: str | None) -> float:
    """Time of counting one answer, the best of several rounds.

    Args:
        shared: directory of counts that workers share; None keeps them in the process.
    """
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    if shared is not None:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
    metrics = ServiceMetrics(take_over=False)
    metrics.prepare(SECTION, "neglabel")
    features = torch.zeros(2, 1)
    labels = LabelSet(("a", "b"), None, ("base", "new"), features, features, 0.05, 0.6, torch.ones(2))
    predictions = [Prediction("b", "new", 0.83, (0.17, 0.83), OpenSetAnswer(0.97, True, ()))]
    serving = cast(Any, SimpleNamespace(tag=SECTION))  # all that is asked of it
    rounds = timeit.repeat(lambda: metrics.answered(serving, labels, predictions), number=CALLS, repeat=REPEATS)
    return min(rounds) / CALLS
