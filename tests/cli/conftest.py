"""Fixtures of the commands' tests: an artifact, and a feedback store filled as the service fills it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax

from candor.calibration.confidence_curve import confidence_curve
from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, save_artifact
from candor.clip.artifact import BackboneRef, Bins, Reference
from candor.clip.backbone import Backbone
from service.feedback.receipt import Receipt
from service.feedback.store import Feedback, FeedbackStore


def _save(path: Path, clip: Backbone) -> PromptArtifact:
    learner = ContextLearner.create(LearnerConfig(n_ctx=4), clip, ())
    learner.ctx.data.mul_(30)  # far from zero-shot
    old = Reference(reliability=Bins(count=[5.0], confidence=[4.0], correct=[3.0]), confidence_histogram=[5.0])
    return save_artifact(
        path,
        learner,
        backbone=BackboneRef.of(clip),
        method="coop",
        regularizers={},
        base_classnames=("blue anchor", "green anchor"),
        template="a picture of a {}.",
        seed=1,
        reference={"base": old, "new": old},
        evaluation={s: {"ece": 0.1, "piece": 0.2, "fd": 0.7, "text_deviation": 0.3} for s in ("base", "new")},
    )


@pytest.fixture
def tuned(tmp_path: Path, tiny_clip: Backbone) -> PromptArtifact:
    """An artifact in tmp_path / "a"."""
    return _save(tmp_path / "a", tiny_clip)


@pytest.fixture
def tuned_glyphs(tmp_path: Path, glyph_clip: Backbone) -> PromptArtifact:
    """An artifact that a service in another process can load, in tmp_path / "a"."""
    return _save(tmp_path / "a", glyph_clip)


def _receipts(tag: str, scope: str, n: int, temperature: float, start: float = 0.0, seed: int = 0) -> list[Feedback]:
    """Predictions of the model's own confidence, one a second, of a model that `temperature` makes right."""
    rng = np.random.default_rng([seed, scope == "new"])
    logits = rng.normal(size=(n, 8)) * rng.uniform(1, 5, size=(n, 1))
    truth = (softmax(logits / temperature, axis=1).cumsum(axis=1) > rng.uniform(size=(n, 1))).argmax(axis=1)
    confidence, best = softmax(logits, axis=1).max(axis=1), logits.argmax(axis=1)
    curves = confidence_curve(torch.tensor(logits)).tolist()
    return [
        Feedback(
            Receipt(
                id=f"{tag}-{scope}-{seed}-{i}",
                issued=start + i,
                artifact=tag,
                scope="base" if scope == "base" else "new",
                label=str(best[i]),
                confidence=float(confidence[i]),
                known="unscored",
                multiplier=1.0,
                gamma=1.0,
                curve=tuple(curves[i]),
                labels=b"",
            ),
            str(truth[i]),
            "correct" if best[i] == truth[i] else "wrong",
            start + i + 60,
        )
        for i in range(n)
    ]


def _filled(path: Path, *feedback: list[Feedback]) -> Path:
    store = FeedbackStore.open(f"sqlite:///{path}", "replica")
    for some in feedback:
        store.add(some, [False] * len(some))
    store.close()
    return path


@pytest.fixture
def receipts() -> Callable[..., list[Feedback]]:
    """Makes feedback: see `_receipts`."""
    return _receipts


@pytest.fixture
def filled() -> Callable[..., Path]:
    """Puts feedback into the store of a file, and gives its path."""
    return _filled
