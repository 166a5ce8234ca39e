"""What every regulariser is: a term of the loss, made once a run and called once a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from candor.clip.backbone import Backbone
from candor.clip.prompt_tokens import TokenizedNames
from training.config import TrainConfig
from vocab_index.outliers import OutlierPool


@dataclass(frozen=True)
class StepOutput:
    """What one training step knows; a regulariser may use any of it.

    Attributes:
        image_features: of the batch, (B, D).
        text_features: of the base classes under the tuned context, (C, D).
        zero_shot_text_features: of the base classes under the hand-written template, (C, D).
        logits: of the batch, (B, C) float32.
        labels: of the batch, (B,).
        encode_names: text features of any names under the tuned context, (N, D); the names once a run by
            `tokenize_names(setting.backbone, words, setting.n_ctx)`.
        number: of the step, from 0 and over all epochs.
    """

    image_features: Tensor
    text_features: Tensor
    zero_shot_text_features: Tensor
    logits: Tensor
    labels: Tensor
    encode_names: Callable[[TokenizedNames], Tensor]
    number: int


Term = Callable[[StepOutput], Tensor]


@dataclass(frozen=True)
class RunSetting:
    """What a regulariser may be made from, once a run.

    Attributes:
        backbone: frozen.
        config: the recipe.
        n_ctx: context vectors of the learner.
        classnames: of the base classes.
        outliers: the vocabulary's candidates, where a term of the method needs them.
    """

    backbone: Backbone
    config: TrainConfig
    n_ctx: int
    classnames: tuple[str, ...]
    outliers: OutlierPool | None


class Regularizer(ABC):
    """A term of the loss.

    Attributes:
        weight: its weight beside plain CoOp.
        weight_with_others: its weight beside another regulariser; None is the same.
        needs_outliers: whether it draws on the vocabulary.
    """

    weight: ClassVar[float]
    weight_with_others: ClassVar[float | None] = None
    needs_outliers: ClassVar[bool] = False

    @classmethod
    def for_run(cls, setting: RunSetting) -> Self:  # noqa: ARG003
        """The term of one run; here goes what need not be computed in each step."""
        return cls()

    @abstractmethod
    def __call__(self, step: StepOutput) -> Tensor:
        """The unweighted term, a scalar."""
