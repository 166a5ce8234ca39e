"""The recipe of an experiment: a YAML file. Unknown keys are errors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from candor.errors import InvalidInput
from training.config import TrainConfig, merged, read_yaml, validated
from training.datasets import DATASETS
from training.methods import METHODS, method_weights

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
ZERO_SHOT = "zero-shot"
MAIN_TABLE = "Methods"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Variant(_Settings):
    """One row of an ablation table.

    Attributes:
        method: name in METHODS; None is the table's own.
        train: what differs from the experiment's `train`; nested settings are merged.
    """

    method: str | None = None
    train: dict[str, Any] = {}


class VariantTable(_Settings):
    """One ablation table of the report.

    Attributes:
        title: over the table.
        method: of the rows that do not name their own.
        rows: name of the row -> what it changes.
    """

    title: str
    method: str
    rows: dict[str, Variant] = Field(min_length=1)


class Experiment(_Settings):
    """What is compared, on what, how often.

    Attributes:
        name: of the output directory.
        title: of the report.
        description: a paragraph under the title.
        model: open_clip model, or the embedded glyph-clip.
        pretrained: its weights; glyph-clip needs none.
        vocabulary: where DOR's outliers come from: "wordnet", "glyphs", or a file (docs/vocabulary.md).
        datasets: names of data sets.
        methods: rows of the main table: names in METHODS, and "zero-shot".
        seeds: from 0, one run each; shots, start, order and outliers of a seed are the same for every method.
        train: settings of every tuning run; `seeds` decide its seed.
        fresh_views: encode a new random view of each training image in each epoch, as the official code does, instead of
            keeping `train.augment.views` of them. Slow: the image tower runs in every epoch.
        variants: ablation tables.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    title: str
    description: str = ""
    model: str = "glyph-clip"
    pretrained: str | None = None
    vocabulary: str = "glyphs"
    datasets: tuple[str, ...] = Field(min_length=1)
    methods: tuple[str, ...] = ()
    seeds: tuple[Annotated[int, Field(strict=True, ge=0)], ...] = Field(min_length=1)
    train: TrainConfig = TrainConfig()
    fresh_views: bool = False
    variants: tuple[VariantTable, ...] = ()

    def tables(self) -> dict[str, tuple[Row, ...]]:
        """The tables of the report: the methods, then each table of variants.

        Raises:
            InvalidInput: a variant's settings, a weight that its method does not have, or a context for base classes only.
        """
        tables: dict[str, tuple[Row, ...]] = {}
        if self.methods:
            tables[MAIN_TABLE] = tuple(Row(method, method, self.train) for method in self.methods)
        for table in self.variants:
            tables[table.title] = tuple(
                Row(name, v.method or table.method, self._changed(f"{table.title}, {name}", v.train))
                for name, v in table.rows.items()
            )
        for row in (row for rows in tables.values() for row in rows):
            if row.method != ZERO_SHOT:
                method_weights(row.method, row.config.weights)
            if self.fresh_views and not row.config.augment.views:
                raise InvalidInput(f"{row.name}: fresh_views asks for random views, and augment.views is 0")
            if row.config.learner.class_specific:
                raise InvalidInput(f"{row.name}: a class_specific context knows no new class, which every table shows")
        return tables

    def _changed(self, where: str, changes: dict[str, Any]) -> TrainConfig:
        if "seed" in changes:
            raise InvalidInput(f"{where}: a variant cannot set the seed; `seeds` does")
        return validated(TrainConfig, where, merged(self.train.model_dump(exclude_unset=True), changes))


@dataclass(frozen=True)
class Row:
    """A row of a table: a method with its settings.

    Attributes:
        name: in the table.
        method: name in METHODS, or "zero-shot".
        config: its settings; the seed is each run's own.
    """

    name: str
    method: str
    config: TrainConfig


@dataclass(frozen=True)
class Recipe:
    """An experiment and the file it was read from.

    Attributes:
        path: of the file.
        text: of the file.
        experiment: what it says.
    """

    path: Path
    text: str
    experiment: Experiment

    @property
    def command(self) -> str:
        """The command that runs it."""
        shipped = self.path.resolve().parent == RECIPES
        return f"candor experiment {f'recipes/{self.path.name}' if shipped else self.path}"

    @property
    def digest(self) -> str:
        """sha256 of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load_recipe(source: str) -> Recipe:
    """Read a recipe.

    Args:
        source: path of a YAML file, or the name of one in the repository's `recipes/`.

    Raises:
        InvalidInput: no such file, not YAML, an unknown key, method or data set, or a value out of range.
    """
    path = next((p for p in (Path(source), RECIPES / f"{source}.yaml") if p.is_file()), None)
    if path is None:
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise InvalidInput(f"no recipe {source!r}; recipes: {known or 'none'}, or the path of a YAML file")
    experiment = validated(Experiment, source, read_yaml(path))
    _check(source, experiment)
    return Recipe(path, path.read_text(encoding="utf-8"), experiment)


def _check(source: str, experiment: Experiment) -> None:
    """What the types do not say."""
    if not experiment.methods and not experiment.variants:
        raise InvalidInput(f"{source}: nothing to run; give methods ({ZERO_SHOT}, {', '.join(METHODS)}) or variants")
    if "seed" in experiment.train.model_fields_set:
        raise InvalidInput(f"{source}: train.seed is decided by `seeds`; leave it out")
    for key in ("datasets", "methods", "seeds"):
        values = getattr(experiment, key)
        if len(set(values)) < len(values):
            raise InvalidInput(f"{source}: {key} holds a value twice: {', '.join(map(str, values))}")
    titles = [MAIN_TABLE, *(table.title for table in experiment.variants)]
    if len(set(titles)) < len(titles):
        raise InvalidInput(f"{source}: two tables have one title: {', '.join(titles)}")
    for name in experiment.datasets:
        if name.partition("/")[0] not in DATASETS:
            raise InvalidInput(f"{source}: unknown data set {name!r}; valid: {', '.join(DATASETS)}")
    try:
        experiment.tables()
    except InvalidInput as error:
        raise InvalidInput(f"{source}: {error}") from error
