"""The pipeline beside the service has the same weights: it answers the same, and the bench would notice if it did not."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from candor.clip.backbone import Backbone, load_backbone, register_backbone
from candor.clip.templates import DEFAULT_TEMPLATE
from service.bench.answers import TOLERANCE
from service.bench.hugging_face import zero_shot_pipeline
from service.bench.raw import Weights, best_batch, raw_turn
from service.bench.traffic import labels, pictures
from service.bench.weights import LOGIT_SCALE, write_random_weights
from service.classifier import Classifier

NAME = "bench-tiny-vit"


@pytest.fixture(scope="module")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A Vision Transformer for pictures of the bench's size, with the bench's random weights."""
    folder = tmp_path_factory.mktemp("vit")
    tower = {"layers": 2, "width": 64}
    document = {
        "embed_dim": 32,
        "vision_cfg": tower | {"image_size": 224, "head_width": 16, "patch_size": 56},
        "text_cfg": tower | {"context_length": 77, "vocab_size": 49408, "heads": 4},
    }
    (folder / f"{NAME}.json").write_text(json.dumps(document))
    register_backbone(NAME, "none", folder / f"{NAME}.json", folder / "none")
    write_random_weights(NAME, folder / "weights.safetensors")
    return load_backbone(NAME, str(folder / "weights.safetensors"))


def test_probabilities_are_the_services(tiny_vit: Backbone) -> None:
    names, images = labels(20), [Image.open(io.BytesIO(file)).convert("RGB") for file in pictures(2)]
    classifier = Classifier(tiny_vit)
    features = classifier.encode_images(torch.stack([classifier.preprocess(image) for image in images]))
    ours = classifier.classify(features, classifier.label_set(names, (DEFAULT_TEMPLATE,)))
    pipeline = zero_shot_pipeline(tiny_vit)

    def theirs(image: Image.Image, template: str) -> dict[str, float]:
        found = pipeline(image, candidate_labels=list(names), hypothesis_template=template)
        return {score["label"]: score["score"] for score in found}

    for image, prediction in zip(images, ours, strict=True):
        same, other = theirs(image, DEFAULT_TEMPLATE), theirs(image, "{}")
        assert max(abs(same[n] - p) for n, p in zip(names, prediction.probabilities, strict=True)) < TOLERANCE / 10
        assert max(abs(other[name] - same[name]) for name in names) > 10 * TOLERANCE
    spread = max(max(prediction.probabilities) - min(prediction.probabilities) for prediction in ours)
    assert spread > 100 * TOLERANCE  # random weights, but not all labels alike


def test_random_weights_repeat(tiny_vit: Backbone, tmp_path: Path) -> None:
    write_random_weights(NAME, tmp_path / "again.safetensors")
    again = load_file(tmp_path / "again.safetensors")
    ours = tiny_vit.model.state_dict()
    assert set(again) == set(ours)
    assert all(torch.equal(again[name], ours[name]) for name in ours)
    assert tiny_vit.logit_scale == pytest.approx(LOGIT_SCALE, rel=1e-5)


def test_the_model_alone() -> None:
    weights = Weights("glyph-clip", None, None)
    turn = raw_turn(weights, batch=3, seconds=0.02)
    assert turn.images == len(turn.latencies)
    assert turn.images % 3 == 0
    assert best_batch(weights, (4,), 0.01) == 4
    assert best_batch(weights, (1, 16), 0.1) == 16  # an image of a batch is cheaper
