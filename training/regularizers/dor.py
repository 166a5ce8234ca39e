"""DOR's term."""

from __future__ import annotations

from typing import ClassVar, Self

from torch import Tensor

from candor.calibration.divergence import text_deviation
from candor.clip.prompt_tokens import TokenizedNames, tokenize_names
from candor.errors import InvalidInput
from training.regularizers.base import Regularizer, RunSetting, StepOutput
from vocab_index.outliers import OutlierSampler


class DynamicOutlierRegularization(Regularizer):
    """DOR: hold *outliers* near the base classes to their zero-shot place, leave the base classes free.

    L_dor = 1 - (1/B) sum_b cos(psi(t'_b), psi(t_b)), with a fresh batch of B outliers each step; t' is the tuned prompt of
    an outlier, t its zero-shot prompt (Wang, Li and Wei, ICML 2025). Weight 8 with CoOp, 2 with other methods.

    Args:
        outliers: K outlier names, tokenized for the learner.
        zero_shot_features: their text features under the hand-written template, (K, D), computed once.
        sampler: of the draws, over the K outliers.
    """

    weight: ClassVar[float] = 8.0
    weight_with_others: ClassVar[float | None] = 2.0
    needs_outliers: ClassVar[bool] = True

    def __init__(self, outliers: TokenizedNames, zero_shot_features: Tensor, sampler: OutlierSampler) -> None:
        if not len(outliers) == len(zero_shot_features) == sampler.count:
            counts = f"{len(zero_shot_features)} zero-shot features and a sampler over {sampler.count}"
            raise InvalidInput(f"{len(outliers)} outliers but {counts}")
        self._outliers, self._zero_shot, self._sampler = outliers, zero_shot_features, sampler

    @classmethod
    def for_run(cls, setting: RunSetting) -> Self:
        """The term of one run.

        Raises:
            InvalidInput: the run has no outliers.
        """
        outliers, config = setting.outliers, setting.config
        if outliers is None:
            raise InvalidInput("DOR needs a vocabulary index to draw its outliers from")
        settings = config.outliers
        sampler = OutlierSampler(
            len(outliers.words),
            settings.batch or min(len(setting.classnames), 100),
            config.seed,
            outliers.similarity if settings.weighting == "similarity" else None,
            settings.resample,
        )
        return cls(tokenize_names(setting.backbone, outliers.words, setting.n_ctx), outliers.features, sampler)

    def __call__(self, step: StepOutput) -> Tensor:
        """The term, a scalar in 0..2."""
        rows = self._sampler.draw(step.number).to(self._zero_shot.device)
        return text_deviation(step.encode_names(self._outliers[rows]), self._zero_shot[rows]).mean()
