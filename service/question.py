"""What a request asks about its images, with what it left out filled in from the kept label set that it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from candor.clip.templates import readable
from candor.errors import InvalidInput
from service.api.schemas import ClassifyRequest
from service.errors import ApiError
from service.labels.spec import LabelSetSpec
from service.labels.store import LabelSetStore

SHOWN = 5  # unknown labels in a message


@dataclass(frozen=True)
class Thresholds:
    """From which score on a label is accepted.

    Attributes:
        everywhere: for labels without their own; None accepts nothing and refuses nothing.
        own: label as answers name it -> its own.
    """

    everywhere: float | None = None
    own: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.everywhere is not None or bool(self.own)

    def accepted(self, label: str, score: float) -> bool | None:
        """Whether a score reaches its label's threshold; None where it has none.

        Args:
            label: as answers name it.
            score: 0..1.
        """
        threshold = self.own.get(label, self.everywhere)
        return None if threshold is None else score >= threshold


NO_THRESHOLDS = Thresholds()


def thresholds_of(labels: Iterable[str], everywhere: float | None, own: Mapping[str, float] | None) -> Thresholds:
    """Thresholds by the names that answers have.

    Args:
        labels: that they are for, as they were given.
        everywhere: for labels without their own.
        own: by label; case, underscores and white space do not matter, as they do not for labels.

    Raises:
        InvalidInput: a threshold for a label that is not there, or two for one.
    """
    if not own:
        return Thresholds(everywhere)
    names = {text.casefold(): text for text in map(readable, labels)}
    known, unknown = {}, []
    for label, threshold in own.items():
        name = names.get(readable(label).casefold())
        if name is None:
            unknown.append(label)
        elif name in known:
            raise InvalidInput(f"two thresholds for {name[:80]!r}; give one")
        else:
            known[name] = threshold
    if unknown:
        shown = ", ".join(repr(label[:80]) for label in unknown[:SHOWN])
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        raise InvalidInput(f"thresholds for labels that are not among the labels: {shown}{more}")
    return Thresholds(everywhere, known)


@dataclass(frozen=True)
class Question:
    """What is asked about each image of a request.

    Attributes:
        labels: to choose from, as they were given.
        templates: of the caller's own, averaged; None for the tuned prompt.
        thresholds: from which score on a label is accepted.
        top_k: scores to answer; None is all.
        open_set: whether to say if the image shows any of the labels.
        multi_label: whether each label is scored by itself.
        labels_field, templates_field: of the request, named in errors.
    """

    labels: tuple[str, ...]
    templates: tuple[str, ...] | None = None
    thresholds: Thresholds = NO_THRESHOLDS
    top_k: int | None = None
    open_set: bool = True
    multi_label: bool = False
    labels_field: str = "labels"
    templates_field: str = "templates"

    @property
    def monitored(self) -> bool:
        """Whether the confidence of answers is the artifact's own, so that it is known how true it should be."""
        return not self.multi_label and self.templates is None


def question_of(options: ClassifyRequest, kept: LabelSetStore) -> Question:
    """What a request asks. What it says itself goes before what its label set says, field by field.

    Args:
        options: of the request.
        kept: label sets by name.

    Raises:
        ApiError: 404 where there is no such label set; 422 where the fields contradict each other.
    """
    if (options.labels is None) == (options.label_set is None):
        what = "neither is given" if options.labels is None else "both are given"
        raise ApiError(422, f"give either 'labels' or 'label_set'; {what}", "labels")
    if options.template is not None and options.templates is not None:
        raise ApiError(422, "give either 'template' or 'templates', not both", "templates")
    templates: Sequence[str] | None = options.templates if options.template is None else [options.template]
    labels: Sequence[str] = options.labels or ()
    everywhere, own = options.threshold, options.thresholds
    fields = ("labels", "templates" if options.template is None else "template")
    if options.label_set is not None:
        spec = _kept(options.label_set, kept)
        labels, templates = spec.labels, templates or spec.templates
        everywhere = spec.threshold if everywhere is None else everywhere
        own = spec.thresholds if own is None else own
        fields = ("label_set", fields[1])
    try:
        thresholds = thresholds_of(labels, everywhere, own)
    except InvalidInput as error:
        raise ApiError(422, str(error), "thresholds") from error
    chosen = tuple(templates) if templates else None
    return Question(tuple(labels), chosen, thresholds, options.top_k, options.open_set, options.multi_label, *fields)


def _kept(name: str, kept: LabelSetStore) -> LabelSetSpec:
    try:
        return kept.get(name)
    except ApiError as error:
        raise ApiError(error.status, error.message, "label_set") from error
