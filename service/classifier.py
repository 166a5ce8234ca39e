"""Images and labels to calibrated results. Knows nothing of HTTP or BentoML; safe to call from several threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from PIL import Image
from torch import Tensor

from candor.calibration.calibrators import Calibrator, LabelGeometry, TemperatureCalibrator
from candor.calibration.divergence import feature_divergence, text_deviation
from candor.clip.artifact import PromptArtifact, Scope
from candor.clip.backbone import Backbone
from candor.clip.prompt_tokens import tokenize_names
from candor.clip.templates import DEFAULT_TEMPLATE, check_names, check_template, fill, readable
from candor.clip.text_encoder import encode_prompts
from vocab_index.index import Neighbour, VocabularyIndex

ZERO_SHOT_TAG = "zero-shot"


@dataclass(frozen=True)
class LabelSet:
    """Labels as the classifier uses them; encoded once and kept.

    Attributes:
        labels: C labels.
        scopes: base or new, of each.
        text_features: (C, D).
        text_deviation: mean over the labels of 1 - cos(tuned, zero-shot).
        divergence: FD of the label set; NaN for one label.
        probabilities: from logits (..., C) over these labels to calibrated probabilities (..., C).
    """

    labels: tuple[str, ...]
    scopes: tuple[Scope, ...]
    text_features: Tensor
    text_deviation: float
    divergence: float
    probabilities: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Prediction:
    """What one image shows.

    Attributes:
        label: the most probable label.
        scope: base if the artifact was tuned on it, new otherwise.
        confidence: its calibrated probability, 0..1.
        probabilities: of all labels, in their order.
        nearest: nearest words of the vocabulary.
    """

    label: str
    scope: Scope
    confidence: float
    probabilities: tuple[float, ...]
    nearest: tuple[Neighbour, ...]


class Classifier:
    """Zero-shot classification on arbitrary labels, with a tuned prompt where there is one.

    Args:
        backbone: frozen.
        artifact: the tuned prompt; None uses the hand-written template.
        index: vocabulary for nearest labels; None gives none.
        cached_label_sets: how many encoded label sets are kept.
    """

    def __init__(
        self,
        backbone: Backbone,
        artifact: PromptArtifact | None = None,
        index: VocabularyIndex | None = None,
        cached_label_sets: int = 256,
    ) -> None:
        self._backbone, self._index = backbone, index
        self._learner = artifact.learner(backbone) if artifact else None
        self._calibrator: Calibrator = artifact.config.calibrator if artifact else TemperatureCalibrator()
        self._base = {readable(name).casefold() for name in artifact.config.base_classnames} if artifact else set()
        self._template = artifact.config.template if artifact else DEFAULT_TEMPLATE
        self.tag = artifact.tag if artifact else ZERO_SHOT_TAG
        self._encode = lru_cache(maxsize=cached_label_sets)(self._encode_labels)
        nothing = torch.empty(0, 0, device=backbone.device)
        self._base_features = (nothing, nothing)  # tuned and zero-shot
        if artifact and self._calibrator.needs_base:
            self._base_features = self._text_features(artifact.config.base_classnames)

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
        return self._encode(check_names(labels), template)

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
        return LabelSet(labels, scopes, features, deviation, feature_divergence(features), probabilities)

    def classify(self, images: Sequence[Image.Image], label_set: LabelSet, nearest: int = 5) -> list[Prediction]:
        """Classify images among labels.

        Args:
            images: RGB images.
            label_set: of `label_set`.
            nearest: vocabulary words an image, where there is a vocabulary.

        Returns:
            A prediction an image.
        """
        features = self._backbone.encode_images(images)
        logits = self._backbone.logit_scale * features @ label_set.text_features.T
        probabilities = label_set.probabilities(logits)
        confidence, best = probabilities.max(dim=-1)
        words = self._index.search(features, nearest) if self._index and nearest else [[] for _ in images]
        return [
            Prediction(label_set.labels[b], label_set.scopes[b], c, tuple(p), tuple(w))
            for b, c, p, w in zip(best.tolist(), confidence.tolist(), probabilities.tolist(), words, strict=True)
        ]
