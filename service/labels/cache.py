"""Text features of labels, kept; label sets, put together from them."""

from __future__ import annotations

from functools import partial

from service.batching.model import Model
from service.classifier import Classifier, LabelSet
from service.open_set import OpenSetView
from vocab_index.kept import KeptValues


class LabelCache:
    """Label sets of one classifier; each encoded once and kept under a bound of memory.

    Args:
        classifier: that encodes.
        model: whose thread it runs in.
        most_bytes: of all that is kept.
    """

    def __init__(self, classifier: Classifier, model: Model, most_bytes: int) -> None:
        self._classifier, self._model = classifier, model
        self._sets: KeptValues[LabelSet] = KeptValues(most_bytes // 2, lambda kept: kept.nbytes)
        self._views: KeptValues[OpenSetView] = KeptValues(most_bytes // 2, lambda kept: kept.nbytes)

    async def label_set(self, labels: tuple[str, ...], templates: tuple[str, ...] | None) -> LabelSet:
        """Labels with their text features.

        Raises:
            InvalidInput: see `Classifier.label_set`.
        """
        make = partial(self._classifier.label_set, labels, templates)
        return await self._model.run(self._sets.get, (labels, templates), make)

    async def view(self, label_set: LabelSet) -> OpenSetView:
        """A label set as open-set answers need it.

        Raises:
            InvalidInput: a label is too long for the vocabulary's templates.
        """
        make = partial(self._classifier.open_set_view, label_set)
        return await self._model.run(self._views.get, (label_set.labels, label_set.templates), make)
