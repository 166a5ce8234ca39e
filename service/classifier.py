"""Images and labels to calibrated results. Knows nothing of HTTP or BentoML; safe to call from several threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from candor.calibration.calibrators import Calibrator, LabelGeometry, TemperatureCalibrator
from candor.calibration.divergence import feature_divergence, text_deviation
from candor.calibration.open_set import ScoreName
from candor.clip.artifact import PromptArtifact, Scope
from candor.clip.backbone import Backbone
from candor.clip.prompt_tokens import tokenize_names
from candor.clip.templates import DEFAULT_TEMPLATE, check_names, check_template, fill, readable
from candor.clip.text_encoder import encode_prompts
from candor.errors import InvalidInput
from service.open_set import OpenSetAnswer, OpenSetView, OpenSetViews
from vocab_index.index import Neighbour, VocabularyIndex
from vocab_index.kept import KeptValues

ZERO_SHOT_TAG = "zero-shot"
NEAREST = 5  # labels and words an image
LABEL_CACHE_BYTES = 256 * 2**20  # some 300 sets of 100 labels of width 512, or 30 of 1,000


@dataclass(frozen=True)
class LabelSet:
    """Labels as the classifier uses them; encoded once and kept.

    Attributes:
        labels: C labels.
        template: of the caller's own; None for the tuned prompt.
        scopes: base or new, of each.
        text_features: (C, D).
        zero_shot_features: under the hand-written template, (C, D).
        text_deviation: mean over the labels of 1 - cos(tuned, zero-shot).
        divergence: FD of the label set; NaN for one label.
        probabilities: from logits (..., C) over these labels to calibrated probabilities (..., C).
    """

    labels: tuple[str, ...]
    template: str | None
    scopes: tuple[Scope, ...]
    text_features: Tensor
    zero_shot_features: Tensor
    text_deviation: float
    divergence: float
    probabilities: Callable[[Tensor], Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes of its features."""
        return self.text_features.nbytes + self.zero_shot_features.nbytes


@dataclass(frozen=True)
class Prediction:
    """What one image shows.

    Attributes:
        label: the most probable label.
        scope: base if the artifact was tuned on it, new otherwise.
        confidence: its calibrated probability, 0..1.
        probabilities: of all labels, in their order.
        open_set: whether it shows any of them at all; None where nobody asked.
    """

    label: str
    scope: Scope
    confidence: float
    probabilities: tuple[float, ...]
    open_set: OpenSetAnswer | None = None


class Classifier:
    """Zero-shot classification on arbitrary labels, with a tuned prompt where there is one.

    Args:
        backbone: frozen.
        artifact: the tuned prompt; None uses the hand-written template.
        index: vocabulary for open-set answers; None gives no nearest labels, and a plainer score.
        label_cache_bytes: bound on the text features of label sets that are kept.
        template: the hand-written prompt where there is no artifact, which brings its own.
    """

    def __init__(
        self,
        backbone: Backbone,
        artifact: PromptArtifact | None = None,
        index: VocabularyIndex | None = None,
        label_cache_bytes: int = LABEL_CACHE_BYTES,
        template: str = DEFAULT_TEMPLATE,
    ) -> None:
        self._backbone, self._index = backbone, index
        self._learner = artifact.learner(backbone) if artifact else None
        self._calibrator: Calibrator = artifact.config.calibrator if artifact else TemperatureCalibrator()
        self._base = {readable(name).casefold() for name in artifact.config.base_classnames} if artifact else set()
        self._template = artifact.config.template if artifact else template
        self.tag = artifact.tag if artifact else ZERO_SHOT_TAG
        self._label_sets: KeptValues[LabelSet] = KeptValues(label_cache_bytes // 2, lambda kept: kept.nbytes)
        self._views: KeptValues[OpenSetView] = KeptValues(label_cache_bytes // 2, lambda kept: kept.nbytes)
        self._make_view = OpenSetViews(backbone, index, artifact.config.open_set if artifact else ())
        nothing = torch.empty(0, 0, device=backbone.device)
        self._base_features = (nothing, nothing)  # tuned and zero-shot
        if artifact and self._calibrator.needs_base:
            self._base_features = self._text_features(artifact.config.base_classnames)

    @property
    def open_set_method(self) -> ScoreName:
        """Which open-set score answers hold."""
        return self._make_view.method

    @property
    def vocabulary(self) -> VocabularyIndex | None:
        """What `lookup` finds words in."""
        return self._index

    def check_template(self, template: str | None) -> None:
        """Refuse a template of the caller that cannot be used.

        Raises:
            InvalidInput: it does not hold {} exactly once, or holds a control token of the tokenizer.
        """
        if template is not None:
            self._backbone.bpe(check_template(template))

    def label_set(self, labels: Sequence[str], template: str | None = None) -> LabelSet:
        """Labels with their text features.

        Args:
            labels: any names.
            template: a hand-written prompt to use instead of the tuned one, with the model's own confidence: a calibrator
                is made for the tuned prompt.

        Raises:
            InvalidInput: no label, an empty or duplicate one, one that is too long, or a template without {}.
        """
        self.check_template(template)
        names = check_names(labels)
        return self._label_sets.get((names, template), partial(self._encode_labels, names, template))

    def _text_features(self, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Tuned (where there is a tuned prompt) and zero-shot text features of names, each (C, D)."""
        zero_shot = self._backbone.encode_text(fill(self._template, names))
        if self._learner is None:
            return zero_shot, zero_shot
        with torch.no_grad():
            prompts = self._learner(tokenize_names(self._backbone, names, self._learner.config.n_ctx))
            return encode_prompts(self._backbone.model, prompts), zero_shot

    def _encode_labels(self, labels: tuple[str, ...], template: str | None) -> LabelSet:
        calibrator = self._calibrator
        if template is None:
            features, zero_shot = self._text_features(labels)
        else:
            features = zero_shot = self._backbone.encode_text(fill(template, labels))
            calibrator = TemperatureCalibrator()  # the artifact's was fitted to its own prompt
        probabilities = calibrator.for_labels(LabelGeometry(features, zero_shot, *self._base_features))
        scopes: tuple[Scope, ...] = tuple("base" if label.casefold() in self._base else "new" for label in labels)
        deviation = float(text_deviation(features, zero_shot).mean().clamp(min=0))
        divergence = feature_divergence(features)
        return LabelSet(labels, template, scopes, features, zero_shot, deviation, divergence, probabilities)

    def open_set_view(self, label_set: LabelSet) -> OpenSetView:
        """A label set as open-set answers need it: its place in the vocabulary, and negatives mined for it.

        Raises:
            InvalidInput: a label is too long for the vocabulary's templates.
        """
        return self._views.get((label_set.labels, label_set.template), partial(self._view_of, label_set))

    def _view_of(self, label_set: LabelSet) -> OpenSetView:
        features = (label_set.text_features, label_set.zero_shot_features)
        template = label_set.template or self._template
        return self._make_view.of(label_set.labels, *features, template, tuned=label_set.template is None)

    def classify(
        self, images: Sequence[Image.Image], label_set: LabelSet, open_set: OpenSetView | None = None
    ) -> list[Prediction]:
        """Classify images among labels.

        Args:
            images: RGB images.
            label_set: of `label_set`.
            open_set: of `open_set_view`; None leaves the open-set answers out.

        Returns:
            A prediction an image.
        """
        features = self._backbone.encode_images(images)
        logits = self._backbone.logit_scale * features @ label_set.text_features.T
        probabilities = label_set.probabilities(logits)
        confidence, best = probabilities.max(dim=-1)
        answers = open_set.answers(features, NEAREST) if open_set else [None] * len(images)
        return [
            Prediction(label_set.labels[b], label_set.scopes[b], c, tuple(p), answer)
            for b, c, p, answer in zip(best.tolist(), confidence.tolist(), probabilities.tolist(), answers, strict=True)
        ]

    def lookup(self, images: Sequence[Image.Image], k: int) -> list[list[Neighbour]]:
        """The words of the vocabulary nearest each image.

        Args:
            images: RGB images.
            k: words an image; fewer where the vocabulary is smaller.

        Raises:
            InvalidInput: there is no vocabulary.
        """
        if self._index is None:
            raise InvalidInput("there is no vocabulary to look images up in")
        return self._index.search(self._backbone.encode_images(images), k)
