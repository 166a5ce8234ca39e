"""Settings of one tuning run, from a YAML file, flags or code. Unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from candor.clip.learners import LearnerConfig
from candor.errors import InvalidInput
from training.augment import AugmentConfig
from vocab_index.outliers import Selection

VIEWS = 8  # of each training image; the official recipe draws a new one each epoch, and runs the image tower for it
Settings = TypeVar("Settings", bound=BaseModel)
RECIPES = Path(__file__).with_name("recipes")


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class OutlierConfig(_Settings):
    """Where DOR's outliers come from. The paper leaves some of this open (`docs/training.md`); each is a setting here.

    Attributes:
        selection: which words of the vocabulary are candidates: nearest to the base classes ("near", the method itself),
            "far" or "random" ones, or the new classes themselves ("oracle": an upper bound that peeks, never a result).
        pool: K, how many words are candidates.
        batch: B, how many a step draws; None is min(number of base classes, 100).
        resample: a fresh draw each step ("dynamic"); False keeps the first one.
        weighting: all candidates alike ("uniform"), or more often the more similar ones ("similarity").
        exclude_new: keep words that contain the name of a new class out too, so that nothing leaks from what is measured.
            A deployment does not know its new classes; the paper says only that base names are left out.
        template: zero-shot prompt of an outlier; None is the data set's own.
    """

    selection: Selection | Literal["oracle"] = "near"
    pool: int = Field(5000, ge=1)
    batch: int | None = Field(None, ge=1)
    resample: bool = True
    weighting: Literal["uniform", "similarity"] = "uniform"
    exclude_new: bool = True
    template: str | None = None


class TrainConfig(_Settings):
    """One tuning run. Defaults are CoOp's recipe on ViT-B/16 (16 random context vectors, 200 epochs), as the DOR paper's.

    Attributes:
        shots: training images a base class.
        epochs, batch_size, learning_rate: of the optimiser.
        optimiser: "sgd", or "adam" (decoupled from momentum; weight decay as L2 in both, as torch's).
        momentum: of SGD.
        weight_decay: L2 on the context.
        warmup_lr: constant learning rate of the first epoch.
        clip_norm: largest norm of the context's gradient; None does not clip.
        autocast: precision of the towers in training; "none" is the backbone's own. The context, the logits and the loss
            are float32 in any case.
        seed: of the shots, the context's start, the order of the batches, the views and the outliers.
        weights: weight of each regulariser; None takes the method's own.
        learner: how prompts are built.
        outliers: of DOR.
        augment: of the training images: the official random resized crop and flip, in 8 views that are encoded once.
    """

    shots: int = Field(16, ge=1)
    epochs: int = Field(200, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    optimiser: Literal["sgd", "adam"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    warmup_lr: float = Field(1e-5, ge=0)
    clip_norm: float | None = Field(None, gt=0)
    autocast: Literal["none", "bf16", "fp16"] = "none"
    seed: int = Field(1, ge=0)
    weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    learner: LearnerConfig = LearnerConfig()
    outliers: OutlierConfig = OutlierConfig()
    augment: AugmentConfig = AugmentConfig(views=VIEWS)


def load_config(source: str | None, overrides: dict[str, Any] | None = None) -> TrainConfig:
    """A configuration from a recipe or file, with some values replaced.

    Args:
        source: name of a shipped recipe, path of a YAML file, or None for the defaults. A file that says `base: RECIPE`
            holds only what differs from that recipe.
        overrides: top-level values; None values are ignored.

    Raises:
        InvalidInput: no such recipe or file, not YAML, an unknown key or a value out of range.
    """
    values: dict[str, Any] = {}
    if source is not None:
        path = _recipe(source)
        values = read_yaml(path)
        if "base" in values:
            values = merged(read_yaml(_recipe(str(values.pop("base")))), values)
    values |= {key: value for key, value in (overrides or {}).items() if value is not None}
    return validated(TrainConfig, source or "settings", values)


def _recipe(source: str) -> Path:
    path = RECIPES / f"{source}.yaml" if (RECIPES / f"{source}.yaml").is_file() else Path(source)
    if not path.is_file():
        recipes = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise InvalidInput(f"no recipe or file {source!r}; recipes: {recipes}")
    return path


def merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Settings with changes; a mapping inside is merged, not replaced."""
    return settings | {
        key: merged(settings[key], value) if isinstance(value, dict) and isinstance(settings.get(key), dict) else value
        for key, value in changes.items()
    }


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML file.

    Raises:
        InvalidInput: it is not YAML, or holds no settings.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InvalidInput(f"{path}: expected settings (key: value), found {type(values).__name__}")
    return values


def validated(model: type[Settings], where: str, values: dict[str, Any]) -> Settings:
    """Settings as their model.

    Raises:
        InvalidInput: an unknown key or a value out of range; all are named, with what was given.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors())
        raise InvalidInput(f"{where}: {problems}") from error
