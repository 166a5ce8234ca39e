"""From what the settings name to something that answers."""

from __future__ import annotations

import torch

import glyph_world
from candor.clip.artifact import BackboneRef, PromptArtifact, load_artifact
from candor.clip.backbone import Backbone, load_backbone
from candor.clip.templates import DEFAULT_TEMPLATE
from service.artifacts.catalogue import first_artifact
from service.batching.model import Model
from service.classifier import Classifier
from service.labels.cache import LabelCache
from service.serving import Serving
from service.settings import Settings
from vocab_index.index import VocabularyIndex


def load_first(settings: Settings) -> Serving:
    """What the service begins with.

    Raises:
        CandorError: the artifact, the index or the weights are missing, damaged or do not belong together.
    """
    path = first_artifact(settings)
    return load_serving(settings, load_artifact(path) if path else None)


def load_serving(settings: Settings, artifact: PromptArtifact | None, running: Serving | None = None) -> Serving:
    """Make an artifact ready, and run it once so that its first caller does not wait.

    Args:
        settings: of the service.
        artifact: loaded; None is the hand-written template, on the backbone that runs, or on the settings' one.
        running: what is served now; its weights and vocabulary are used again where they are the same.

    Raises:
        CandorError: the artifact, the index or the weights are missing, damaged or do not belong together.
    """
    glyph_world.register()
    backbone = _running_backbone(artifact, running) or _load_backbone(settings, artifact)
    same = running is not None and running.classifier.backbone is backbone
    index = running.classifier.vocabulary if running and same else _load_index(settings, backbone)
    template = glyph_world.default_template(backbone.name) or DEFAULT_TEMPLATE
    serving = serve_classifier(Classifier(backbone, artifact, index, template), settings)
    serving.model.measure()  # which runs the image tower, too
    serving.classifier.open_set_view(serving.classifier.label_set(["warm", "up"]))
    return serving


def serve_classifier(classifier: Classifier, settings: Settings) -> Serving:
    """A classifier with the threads, batches and caches that it answers with."""
    model = Model(classifier, settings)
    return Serving(classifier, model, LabelCache(classifier, model, settings.label_cache_bytes))


def _load_index(settings: Settings, backbone: Backbone) -> VocabularyIndex | None:
    return VocabularyIndex.load(settings.index, backbone) if settings.index else None


def _running_backbone(artifact: PromptArtifact | None, running: Serving | None) -> Backbone | None:
    if running is None:
        return None
    backbone = running.classifier.backbone
    if artifact is None:
        return backbone
    wanted, found = artifact.config.backbone, BackboneRef.of(backbone)
    # equal weights are not enough: ViT-B-32 and ViT-B-32-quickgelu share theirs
    return backbone if (wanted.model, wanted.sha256) == (found.model, found.sha256) else None


def _load_backbone(settings: Settings, artifact: PromptArtifact | None) -> Backbone:
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "fp32"
    if artifact is None:
        return load_backbone(settings.model, settings.pretrained, device, precision)
    return load_backbone(artifact.config.backbone.model, artifact.config.backbone.pretrained, device, precision)
