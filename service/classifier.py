"""Images and labels to calibrated results. Keeps nothing; knows nothing of HTTP or BentoML; for any thread."""

from __future__ import annotations

from collections.abc import Sequence
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
from candor.clip.learners import PromptLearner
from candor.clip.prompt_tokens import TokenizedNames, tokenize_names
from candor.clip.templates import DEFAULT_TEMPLATE, check_names, fill, readable
from candor.clip.text_encoder import encode_prompts
from candor.errors import InvalidInput
from service.evidence import Evidence, evidence_of
from service.feedback.receipt import Known
from service.label_set import LabelFeatures, LabelSet
from service.multi_label import Background, MultiLabelView
from service.open_set import OpenSetAnswer, OpenSetView, OpenSetViews
from vocab_index.index import Neighbour, VocabularyIndex
from vocab_index.labels import label_features

ZERO_SHOT_TAG = "zero-shot"
NEAREST = 5  # labels and words an image
MOST_TEMPLATES = 100  # that are averaged; CLIP's own list for ImageNet has 80


@dataclass(frozen=True)
class Prediction:
    """What one image shows.

    Attributes:
        label: the most probable label.
        scope: base if the artifact was tuned on it, new otherwise.
        confidence: its calibrated probability, 0..1.
        probabilities: of all labels, in their order.
        open_set: whether it shows any of them at all; None where nobody asked.
        evidence: what a calibrator can be judged and made anew by; None where nobody asked.
    """

    label: str
    scope: Scope
    confidence: float
    probabilities: tuple[float, ...]
    open_set: OpenSetAnswer | None = None
    evidence: Evidence | None = None

    @property
    def known(self) -> Known:
        """Whether it shows any of them, in a word; "unscored" where nobody asked, or no threshold is there to judge it."""
        if self.open_set is None or self.open_set.known is None:
            return "unscored"
        return "true" if self.open_set.known else "false"


class Classifier:
    """Zero-shot classification on arbitrary labels, with a tuned prompt where there is one.

    Args:
        backbone: frozen.
        artifact: the tuned prompt; None uses the hand-written template.
        index: vocabulary for open-set answers; None gives no nearest labels, and a plainer score.
        template: the hand-written prompt where there is no artifact, which brings its own.
    """

    def __init__(
        self,
        backbone: Backbone,
        artifact: PromptArtifact | None = None,
        index: VocabularyIndex | None = None,
        template: str = DEFAULT_TEMPLATE,
    ) -> None:
        self.backbone, self._index = backbone, index
        self._learner = artifact.learner(backbone) if artifact else None
        self._calibrator: Calibrator = artifact.config.calibrator if artifact else TemperatureCalibrator()
        self._base = {readable(name).casefold() for name in artifact.config.base_classnames} if artifact else set()
        self._template = artifact.config.template if artifact else template
        self.tag = artifact.tag if artifact else ZERO_SHOT_TAG
        self.config = artifact.config if artifact else None  # what the artifact says about itself
        self._make_view = OpenSetViews(backbone, index, artifact.config.open_set if artifact else ())
        self._logit_scale = backbone.logit_scale
        self._background = Background(index, self._logit_scale, backbone.device) if index else None
        nothing = torch.empty(0, 0, device=backbone.device)
        self._base_features = LabelFeatures(nothing, nothing)
        if artifact:
            self._base_features = self.encode_labels(artifact.config.base_classnames)

    @property
    def open_set_method(self) -> ScoreName:
        """Which open-set score answers hold."""
        return self._make_view.method

    @property
    def vocabulary(self) -> VocabularyIndex | None:
        """What `lookup` finds words in."""
        return self._index

    @property
    def image_tower(self) -> tuple[str, ...]:
        """Names the image tower: classifiers that have it in common give the same image features."""
        weights = next(self.backbone.model.visual.parameters())
        tuned = self.tag if self._learner is not None and self._learner.tunes_image_tower else ""
        return self.backbone.name, self.backbone.digest, str(self.backbone.device), str(weights.dtype), tuned

    def preprocess(self, image: Image.Image) -> Tensor:
        """An RGB image as the image tower takes it, (3, H, W)."""
        return self.backbone.preprocess(image)

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Image features of preprocessed images (B, 3, H, W): (B, D) of L2 norm 1."""
        if self._learner is None:
            return self.backbone.encode_image(pixels)
        return self._learner.encode_images(self.backbone, pixels)

    def check_templates(self, templates: Sequence[str] | None) -> None:
        """Refuse templates of the caller that cannot be used.

        Raises:
            InvalidInput: there are none or too many, one does not hold {} exactly once, or it holds a control token.
        """
        if templates is not None and not 1 <= len(templates) <= MOST_TEMPLATES:
            raise InvalidInput(f"{len(templates)} templates given; 1 to {MOST_TEMPLATES} can be averaged")
        for template in templates or ():
            self.backbone.bpe(fill(template, ["cat"])[0])  # with a label: braces would hide what stands beside them

    @torch.no_grad()
    def check_labels(self, names: tuple[str, ...], templates: tuple[str, ...] | None = None) -> None:
        """Refuse names that `encode_labels` would refuse, without the work of encoding.

        Raises:
            InvalidInput: as `encode_labels`.
        """
        for template in templates or (self._template,):
            self.backbone.tokenize(fill(template, names))
        if templates is None and self._learner is not None:
            self._learner(self._tokens(self._learner, names))

    @torch.no_grad()
    def encode_labels(self, names: tuple[str, ...], templates: tuple[str, ...] | None = None) -> LabelFeatures:
        """Text features of names under the tuned prompt, or under the average of some templates.

        Raises:
            InvalidInput: a name does not fit the text tower.
        """
        if templates is not None:
            averaged = label_features(self.backbone, templates, names)
            return LabelFeatures(averaged, averaged)
        zero_shot = self.backbone.encode_text(fill(self._template, names))
        if self._learner is None:
            return LabelFeatures(zero_shot, zero_shot)
        prompts = self._learner(self._tokens(self._learner, names))
        return LabelFeatures(encode_prompts(self.backbone.model, prompts), zero_shot)

    def _tokens(self, learner: PromptLearner, names: tuple[str, ...]) -> TokenizedNames:
        return tokenize_names(self.backbone, names, learner.config.n_ctx)

    def label_set(
        self,
        labels: Sequence[str],
        templates: tuple[str, ...] | None = None,
        features: LabelFeatures | None = None,
    ) -> LabelSet:
        """Labels with their text features.

        Args:
            labels: any names.
            templates: hand-written prompts to use instead of the tuned one, with the model's own confidence: a calibrator
                is made for the tuned prompt.
            features: of the labels, where they are known already.

        Raises:
            InvalidInput: no label, an empty or duplicate one, one that is too long, or a template without {}.
        """
        self.check_templates(templates)
        names = check_names(labels)
        known = features or self.encode_labels(names, templates)
        calibrator = self._calibrator if templates is None else TemperatureCalibrator()  # made for the tuned prompt
        base = self._base_features
        scopes: tuple[Scope, ...] = tuple("base" if name.casefold() in self._base else "new" for name in names)
        is_base = torch.tensor([scope == "base" for scope in scopes])
        geometry = LabelGeometry(known.text, known.zero_shot, base.text, base.zero_shot, is_base)
        deviation = float(text_deviation(known.text, known.zero_shot).mean().clamp(min=0))
        divergence, multiplier = feature_divergence(known.text), calibrator.multiplier(geometry)
        gamma = calibrator.gamma(geometry) if templates is None and len(base.text) else None
        learner = self._learner if templates is None else None
        tokens = self._tokens(learner, names) if learner is not None and learner.depends_on_image else None
        text = known.text, known.zero_shot
        return LabelSet(names, templates, scopes, *text, deviation, divergence, multiplier, tokens, gamma)

    def open_set_view(self, label_set: LabelSet) -> OpenSetView:
        """A label set as open-set answers need it: its place in the vocabulary, and negatives mined for it.

        Raises:
            InvalidInput: a label is too long for the vocabulary's templates.
        """
        features = (label_set.text_features, label_set.zero_shot_features)
        templates = label_set.templates or (self._template,)
        return self._make_view.of(label_set.labels, *features, templates, tuned=label_set.templates is None)

    def multi_label_view(self, label_set: LabelSet) -> MultiLabelView:
        """A label set with each label scored by itself, against the vocabulary.

        Raises:
            InvalidInput: there is no vocabulary.
        """
        if self._background is None:
            raise InvalidInput("multi_label scores labels against a vocabulary, and none is served; start with --index DIR")
        return self._background.view(label_set, partial(self.logits, label_set=label_set))

    @torch.no_grad()
    def logits(self, image_features: Tensor, label_set: LabelSet) -> Tensor:
        """Scaled cosines of images and labels.

        Args:
            image_features: (B, D), of `encode_images`.
            label_set: of `label_set`.

        Returns:
            (B, C) float32.
        """
        scaled = self._logit_scale * image_features
        if label_set.tokens is None or self._learner is None:
            return scaled @ label_set.text_features.T
        rows = [scaled.new_empty(0, len(label_set.labels))]
        for row in range(len(scaled)):  # memory for one image's prompts
            prompts = self._learner(label_set.tokens, image_features[row : row + 1])
            rows.append(scaled[row : row + 1] @ encode_prompts(self.backbone.model, prompts).T)
        return torch.cat(rows)

    @torch.inference_mode()
    def classify(
        self,
        image_features: Tensor,
        label_set: LabelSet,
        open_set: OpenSetView | None = None,
        evidence: bool = False,
    ) -> list[Prediction]:
        """Classify images among labels.

        Args:
            image_features: (B, D), of `encode_images`.
            label_set: of `label_set`.
            open_set: of `open_set_view`; None leaves the open-set answers out.
            evidence: whether predictions have theirs.

        Returns:
            A prediction an image.
        """
        logits = self.logits(image_features, label_set)
        probabilities = label_set.probabilities(logits)
        confidence, best = probabilities.max(dim=-1)
        nothing = [None] * len(image_features)
        answers = open_set.answers(image_features, NEAREST) if open_set else nothing
        predicted = best.tolist()
        seen = evidence_of(logits, predicted, label_set) if evidence else nothing
        numbers = predicted, confidence.tolist(), probabilities.tolist()
        return [
            Prediction(label_set.labels[b], label_set.scopes[b], c, tuple(p), answer, e)
            for b, c, p, answer, e in zip(*numbers, answers, seen, strict=True)
        ]

    def lookup(self, image_features: Tensor, k: int) -> list[list[Neighbour]]:
        """The words of the vocabulary nearest each image.

        Args:
            image_features: (B, D), of `encode_images`.
            k: words an image; fewer where the vocabulary is smaller.

        Raises:
            InvalidInput: there is no vocabulary.
        """
        if self._index is None:
            raise InvalidInput("there is no vocabulary to look images up in")
        return self._index.search(image_features, k)
