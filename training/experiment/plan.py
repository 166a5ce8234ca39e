"""Every run that an experiment asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from candor.clip.backbone import Backbone
from candor.errors import CandorError, InvalidInput
from training.datasets import load_dataset
from training.experiment.job import Job, dataset_digest, words_digest
from training.experiment.recipe import ZERO_SHOT, Experiment, Row
from vocab_index.sources.words import WordList

Tables = dict[str, dict[str, list[Job]]]  # title of a table -> name of a row -> its runs, data set by data set


@dataclass(frozen=True)
class Vocabulary:
    """Where outliers come from.

    Attributes:
        words: the list.
        template: prompt that the words are ranked by.
    """

    words: WordList
    template: str


def plan(experiment: Experiment, backbone: Backbone, vocabulary: Vocabulary, root: Path | None = None) -> Tables:
    """The runs of every row of every table; equal runs have equal keys.

    Args:
        experiment: what is asked for.
        backbone: frozen.
        vocabulary: where DOR's outliers come from.
        root: of the data sets.

    Raises:
        InvalidInput: data sets that cannot be read; all are named.
    """
    digests, problems = {}, []
    for name in experiment.datasets:
        try:
            digests[name] = dataset_digest(load_dataset(name, root))
        except CandorError as error:
            problems.append(f"{name} ({error})")
    if problems:
        raise InvalidInput(f"cannot read {len(problems)} of {len(experiment.datasets)} data sets: {'; '.join(problems)}")
    shared = {"backbone": backbone.digest, "vocabulary": words_digest(vocabulary.words.words, vocabulary.template)}

    def jobs(row: Row) -> list[Job]:
        seeds = experiment.seeds[:1] if row.method == ZERO_SHOT else experiment.seeds
        configs = [row.config.model_copy(update={"seed": seed}) for seed in seeds]
        return [
            Job.of(row.name, name, row.method, config, shared | {"dataset": digests[name]}, experiment.fresh_views)
            for name in experiment.datasets
            for config in configs
        ]

    return {title: {row.name: jobs(row) for row in rows} for title, rows in experiment.tables().items()}
