"""DOR's candidates for a data set: which words, and where the frozen model has them."""

from __future__ import annotations

from dataclasses import replace

from candor.clip.backbone import Backbone
from candor.clip.learners import LearnerConfig
from candor.clip.templates import fill
from candor.errors import InvalidInput
from training.config import TrainConfig
from training.data import ImageDataset, classnames_of
from training.run import Features
from vocab_index.index import VocabularyIndex
from vocab_index.outliers import OutlierPool


def find_outliers(
    backbone: Backbone, index: VocabularyIndex | None, dataset: ImageDataset, features: Features, config: TrainConfig
) -> OutlierPool:
    """Candidates by the recipe's selection, with their zero-shot features under the recipe's template.

    Args:
        backbone: frozen.
        index: the vocabulary; an "oracle" selection needs none.
        dataset: gives the class names and the template.
        features: of `prepare`.
        config: the recipe.

    Raises:
        InvalidInput: no index, or one that was made with another backbone; no candidate is left.
    """
    settings = config.outliers
    template, selection = settings.template or dataset.template, settings.selection
    if selection == "oracle":
        words = classnames_of(dataset, "new")
        pool = OutlierPool.oracle(words, features.zero_shot["new"], features.zero_shot["base"])
        return replace(pool, features=backbone.encode_text(fill(template, words)))
    if index is None:
        raise InvalidInput("DOR draws its outliers from a vocabulary, and none was given (candor vocab build)")
    if index.backbone.sha256 != backbone.digest:
        raise InvalidInput(
            f"the vocabulary index was made with {index.backbone.model} {index.backbone.sha256[:12]}, "
            f"not with this {backbone.name} {backbone.digest[:12]}"
        )
    kept_out = dataset.classnames if settings.exclude_new else classnames_of(dataset, "base")
    base = features.zero_shot["base"]
    pool = OutlierPool.select(selection, index, base, settings.pool, kept_out, config.seed)
    pool = _that_fit(backbone, pool, template, config.learner)
    if (template,) == index.templates:
        return pool
    return replace(pool, features=backbone.encode_text(fill(template, pool.words)))


def _that_fit(backbone: Backbone, pool: OutlierPool, template: str, learner: LearnerConfig) -> OutlierPool:
    """The candidates whose prompts fit the text tower, tuned and zero-shot; the others are dropped, as class names are."""
    n_ctx = learner.n_ctx if learner.ctx_init is None else len(backbone.bpe(learner.ctx_init))
    room = backbone.context_length - 2

    def fits(word: str) -> bool:
        prompts = (n_ctx + len(backbone.bpe(f"{word}.")), len(backbone.bpe(fill(template, [word])[0])))
        return max(prompts) <= room

    rows = [row for row, word in enumerate(pool.words) if fits(word)]
    if not rows:
        raise InvalidInput(f"no outlier fits the text tower beside {n_ctx} context vectors")
    return OutlierPool(
        tuple(pool.words[row] for row in rows),
        tuple(pool.similarity[row] for row in rows),
        pool.features[rows],
        (*pool.dropped, *sorted(set(pool.words) - {pool.words[row] for row in rows})),
    )
