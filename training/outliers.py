"""DOR's candidates for a data set: which words, and where the frozen model has them."""

from __future__ import annotations

import torch

from candor.clip.backbone import Backbone
from candor.clip.templates import fill
from candor.errors import InvalidInput
from training.config import OutlierConfig, TrainConfig
from training.data import ImageDataset, classnames_of
from training.run import Features
from vocab_index.index import Outliers, VocabularyIndex


def find_outliers(
    backbone: Backbone, index: VocabularyIndex | None, dataset: ImageDataset, features: Features, config: TrainConfig
) -> Outliers:
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
    template = config.outliers.template or dataset.template
    if config.outliers.selection == "oracle":
        words = classnames_of(dataset, "new")
        similarity = (features.zero_shot["new"] @ features.zero_shot["base"].T).mean(dim=1)
        return Outliers(words, tuple(similarity.tolist()), backbone.encode_text(fill(template, words)), ())
    if index is None:
        raise InvalidInput("DOR draws its outliers from a vocabulary, and none was given (candor vocab build)")
    if index.backbone.sha256 != backbone.digest:
        raise InvalidInput(
            f"the vocabulary index was made with {index.backbone.model} {index.backbone.sha256[:12]}, "
            f"not with this {backbone.name} {backbone.digest[:12]}"
        )
    outliers = _from_vocabulary(index, dataset, features.zero_shot["base"], config.outliers, config.seed)
    if template == index.template:
        return outliers
    zero_shot = backbone.encode_text(fill(template, outliers.words))
    return Outliers(outliers.words, outliers.similarity, zero_shot, outliers.dropped)


def _from_vocabulary(
    index: VocabularyIndex, dataset: ImageDataset, base: torch.Tensor, config: OutlierConfig, seed: int
) -> Outliers:
    if config.selection == "oracle":
        raise InvalidInput("oracle outliers are the new classes, not words of a vocabulary")
    kept_out = dataset.classnames if config.exclude_new else classnames_of(dataset, "base")
    return index.outliers(base, config.pool, kept_out, config.selection, seed)
