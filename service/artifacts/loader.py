"""From what the settings name to something that answers."""

from __future__ import annotations

from pathlib import Path

import torch

import glyph_world
from candor.clip.artifact import PromptArtifact, load_artifact
from candor.clip.backbone import Backbone, load_backbone
from candor.clip.templates import DEFAULT_TEMPLATE
from service.batching.model import Model
from service.classifier import Classifier
from service.labels.cache import LabelCache
from service.serving import Serving
from service.settings import Settings
from vocab_index.index import VocabularyIndex


def load_serving(settings: Settings, artifact: Path | None) -> Serving:
    """Load an artifact, and run it once so that its first caller does not wait.

    Args:
        settings: of the service.
        artifact: directory; None is the hand-written template of the settings' model.

    Raises:
        CandorError: the artifact, the index or the weights are missing, damaged or do not belong together.
    """
    glyph_world.register()
    prompt = load_artifact(artifact) if artifact else None
    backbone = _backbone(settings, prompt)
    index = VocabularyIndex.load(settings.index, backbone) if settings.index else None
    template = glyph_world.default_template(settings.model) or DEFAULT_TEMPLATE
    serving = serve_classifier(Classifier(backbone, prompt, index, template), settings)
    _warm_up(serving.classifier)
    return serving


def serve_classifier(classifier: Classifier, settings: Settings) -> Serving:
    """A classifier with the threads, batches and caches that it answers with."""
    model = Model(classifier, settings)
    return Serving(classifier, model, LabelCache(classifier, model, settings.label_cache_bytes))


def _warm_up(classifier: Classifier) -> None:
    size = classifier.backbone.model.visual.image_size
    height, width = size if isinstance(size, tuple) else (size, size)
    classifier.encode_images(torch.zeros(1, 3, height, width))
    classifier.open_set_view(classifier.label_set(["warm", "up"]))


def _backbone(settings: Settings, artifact: PromptArtifact | None) -> Backbone:
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "fp32"
    if artifact is None:
        return load_backbone(settings.model, settings.pretrained, device, precision)
    return load_backbone(artifact.config.backbone.model, artifact.config.backbone.pretrained, device, precision)
