"""Prompt learners by name. A new method is one class in a file of its own and one line here."""

from __future__ import annotations

from candor.clip.backbone import Backbone
from candor.clip.learners.base import LearnerConfig, PromptLearner
from candor.clip.learners.context import ContextLearner
from candor.errors import InvalidInput

LEARNERS: dict[str, type[PromptLearner]] = {"context": ContextLearner}

__all__ = ["LEARNERS", "ContextLearner", "LearnerConfig", "PromptLearner", "create_learner"]


def create_learner(config: LearnerConfig, backbone: Backbone, classnames: tuple[str, ...]) -> PromptLearner:
    """A learner at its starting point.

    Args:
        config: its kind and settings.
        backbone: the CLIP whose prompts it learns.
        classnames: the base classes.

    Raises:
        InvalidInput: no such kind.
    """
    if config.kind not in LEARNERS:
        raise InvalidInput(f"unknown learner {config.kind!r}; valid: {', '.join(LEARNERS)}")
    return LEARNERS[config.kind].create(config, backbone, classnames)
