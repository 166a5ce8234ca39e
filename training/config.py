"""Settings of one tuning run, from a YAML file, flags or code. Unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from candor.clip.learners import LearnerConfig
from candor.errors import InvalidInput

RECIPES = Path(__file__).with_name("recipes")


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OutlierConfig(_Settings):
    """Where DOR's outliers come from.

    Attributes:
        pool: K, how many words nearest to the base classes are candidates.
        batch: B, how many a step draws; None is min(number of base classes, 100).
        template: zero-shot prompt of an outlier; None is the data set's own.
    """

    pool: int = Field(5000, ge=1)
    batch: int | None = Field(None, ge=1)
    template: str | None = None


class TrainConfig(_Settings):
    """One tuning run. Defaults are CoOp's recipe on ViT-B/16 (16 random context vectors, 200 epochs), as the DOR paper's.

    Attributes:
        shots: training images a base class.
        epochs, batch_size, learning_rate: of SGD.
        momentum, weight_decay: of SGD.
        warmup_lr: constant learning rate of the first epoch.
        seed: of the shots, the context's start, the order of the batches and the outliers.
        weights: weight of each regulariser; None takes the method's own.
    """

    shots: int = Field(16, ge=1)
    epochs: int = Field(200, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    warmup_lr: float = Field(1e-5, ge=0)
    seed: int = Field(1, ge=0)
    weights: dict[str, float] = {}
    learner: LearnerConfig = LearnerConfig()
    outliers: OutlierConfig = OutlierConfig()


def load_config(source: str | None, overrides: dict[str, Any] | None = None) -> TrainConfig:
    """A configuration from a recipe or file, with some values replaced.

    Args:
        source: name of a shipped recipe, path of a YAML file, or None for the defaults.
        overrides: top-level values; None values are ignored.

    Raises:
        InvalidInput: no such recipe or file, not YAML, an unknown key or a value out of range.
    """
    values: dict[str, Any] = {}
    if source is not None:
        path = RECIPES / f"{source}.yaml" if (RECIPES / f"{source}.yaml").is_file() else Path(source)
        if not path.is_file():
            recipes = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
            raise InvalidInput(f"no recipe or file {source!r}; recipes: {recipes}")
        try:
            values = yaml.safe_load(path.read_text()) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{source}: not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(values, dict):
            raise InvalidInput(f"{source}: expected settings (key: value), found {type(values).__name__}")
    values |= {key: value for key, value in (overrides or {}).items() if value is not None}
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors())
        raise InvalidInput(f"{source or 'settings'}: {problems}") from error
