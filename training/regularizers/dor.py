"""DOR's term."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from torch import Tensor

from candor.calibration.divergence import text_deviation
from candor.clip.prompt_tokens import TokenizedNames, tokenize_names
from candor.errors import InvalidInput
from training.regularizers.base import Regularizer, RunSetting, StepOutput
from training.streams import stream


class DynamicOutlierRegularization(Regularizer):
    """DOR: hold *outliers* near the base classes to their zero-shot place, leave the base classes free.

    L_dor = 1 - (1/B) sum_b cos(psi(t'_b), psi(t_b)), with a fresh batch of B outliers each step; t' is the tuned prompt of
    an outlier, t its zero-shot prompt (Wang, Li and Wei, ICML 2025). Weight 8 with CoOp, 2 with other methods.

    Args:
        outliers: K outlier names, tokenized for the learner.
        zero_shot_features: their text features under the hand-written template, (K, D), computed once.
        batch_size: B; all K are used where there are fewer.
        seed: of the draws.
        chances: how likely each is drawn, (K,), not negative; None draws uniformly.
        resample: a fresh draw each step; False draws once.
    """

    weight: ClassVar[float] = 8.0
    weight_with_others: ClassVar[float | None] = 2.0
    needs_outliers: ClassVar[bool] = True

    def __init__(
        self,
        outliers: TokenizedNames,
        zero_shot_features: Tensor,
        batch_size: int,
        seed: int,
        chances: Tensor | None = None,
        resample: bool = True,
    ) -> None:
        if len(outliers) != len(zero_shot_features):
            raise InvalidInput(f"{len(outliers)} outliers but {len(zero_shot_features)} zero-shot features")
        if batch_size < 1 or not len(outliers):
            raise InvalidInput(f"DOR needs at least one outlier a step; got {len(outliers)} and batch {batch_size}")
        self._outliers, self._zero_shot = outliers, zero_shot_features
        self._chances = torch.ones(len(outliers)) if chances is None else chances.float().cpu().clamp(min=1e-6)
        self._batch_size = min(batch_size, len(outliers))
        self._seed, self._resample = seed, resample

    @classmethod
    def for_run(cls, setting: RunSetting) -> Self:
        """The term of one run.

        Raises:
            InvalidInput: the run has no outliers.
        """
        outliers, config = setting.outliers, setting.config
        if outliers is None:
            raise InvalidInput("DOR needs a vocabulary index to draw its outliers from")
        return cls(
            tokenize_names(setting.backbone, outliers.words, setting.n_ctx),
            outliers.features,
            config.outliers.batch or min(len(setting.classnames), 100),
            config.seed,
            torch.tensor(outliers.similarity) if config.outliers.weighting == "similarity" else None,
            config.outliers.resample,
        )

    def draw(self, step: int) -> Tensor:
        """Rows of the outliers of a step, (B,) int64, all different."""
        generator = stream(self._seed, "outliers", step if self._resample else 0)
        return torch.multinomial(self._chances, self._batch_size, replacement=False, generator=generator)

    def __call__(self, step: StepOutput) -> Tensor:
        """The term, a scalar in 0..2."""
        rows = self.draw(step.number).to(self._zero_shot.device)
        return text_deviation(step.encode_names(self._outliers[rows]), self._zero_shot[rows]).mean()
