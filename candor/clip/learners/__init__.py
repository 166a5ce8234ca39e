"""Prompt learners by name. A new method is one class in a file of its own and one line here."""

from __future__ import annotations

from candor.clip.learners.base import LearnerConfig, PromptLearner
from candor.clip.learners.context import ContextLearner

LEARNERS: dict[str, type[PromptLearner]] = {"context": ContextLearner}

__all__ = ["LEARNERS", "ContextLearner", "LearnerConfig", "PromptLearner"]
