"""Label sets, put together from the text features that are kept."""

from __future__ import annotations

import sys
from functools import partial

from candor.clip.templates import check_names
from service.batching.model import Model
from service.classifier import Classifier
from service.label_set import LabelFeatures, LabelSet
from service.labels.features import KeptFeatures, Watch, joined
from service.labels.kept import MadeOnce
from service.multi_label import MultiLabelView
from service.open_set import OpenSetView

Templates = tuple[str, ...] | None


class LabelCache:
    """Label sets of one classifier; each label encoded once, each set put together once, kept under a bound of memory.

    For one event loop.

    Args:
        classifier: that encodes.
        model: whose thread it runs in.
        most_bytes: of all that is kept: half for the features of single labels, a quarter each for sets and their views.
    """

    def __init__(self, classifier: Classifier, model: Model, most_bytes: int) -> None:
        self._classifier, self._model = classifier, model
        self._features = KeptFeatures(classifier, model, most_bytes // 2)
        self._sets: MadeOnce[LabelSet] = MadeOnce(most_bytes // 4, _set_bytes)
        self._views: MadeOnce[OpenSetView] = MadeOnce(most_bytes // 8, lambda view: view.nbytes)
        self._multi: MadeOnce[MultiLabelView] = MadeOnce(most_bytes // 8, lambda view: view.nbytes)

    def watch(self, watch: Watch) -> None:
        """Tell somebody of the labels of each request from now on: how many were there, and how many had to be encoded."""
        self._features.watch = watch

    async def label_set(self, labels: tuple[str, ...], templates: Templates) -> LabelSet:
        """Labels with their text features.

        Raises:
            InvalidInput: see `Classifier.label_set`.
        """
        label_set, made = await self._sets.get((labels, templates), partial(self._make, labels, templates))
        if not made:
            self._features.watch(len(labels), 0)
        return label_set

    async def view(self, label_set: LabelSet) -> OpenSetView:
        """A label set as open-set answers need it.

        Raises:
            InvalidInput: a label is too long for the vocabulary's templates.
        """
        make = partial(self._model.run, self._classifier.open_set_view, label_set)
        return (await self._views.get(_key(label_set), make))[0]

    async def multi_label(self, label_set: LabelSet) -> MultiLabelView:
        """A label set with each label scored by itself.

        Raises:
            InvalidInput: no vocabulary is served.
        """
        make = partial(self._model.run, self._classifier.multi_label_view, label_set)
        return (await self._multi.get(_key(label_set), make))[0]

    async def _make(self, labels: tuple[str, ...], templates: Templates) -> LabelSet:
        self._classifier.check_templates(templates)
        rows = await self._features.get(check_names(labels), templates)
        return await self._model.run(self._put_together, labels, templates, rows)

    def _put_together(self, labels: tuple[str, ...], templates: Templates, rows: list[LabelFeatures]) -> LabelSet:
        return self._classifier.label_set(labels, templates, joined(rows))


def _key(label_set: LabelSet) -> tuple[tuple[str, ...], Templates]:
    return label_set.labels, label_set.templates


def _set_bytes(label_set: LabelSet) -> int:
    return label_set.nbytes + sum(map(sys.getsizeof, label_set.labels))
