"""Learners whose prompts depend on the image, and learners that tune the image tower, behind the one classifier."""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from candor.clip import PromptArtifact, encode_prompts, save_artifact, tokenize_names
from candor.clip.artifact import BackboneRef
from candor.clip.backbone import Backbone
from candor.clip.learners import LEARNERS, ContextLearner, LearnerConfig
from candor.clip.prompt_tokens import TokenizedNames
from candor.clip.text_encoder import PromptEmbeddings
from service.artifacts.loader import serve_classifier
from service.classifier import Classifier
from service.settings import Settings

LABELS = ("red umbrella", "blue anchor", "a rather long name of a dog")


class Conditional(ContextLearner):
    """As CoCoOp: each image moves the context, here by its own mirror image, there or back. No image, no move."""

    depends_on_image = True

    def forward(self, names: TokenizedNames, image_features: Tensor | None = None) -> PromptEmbeddings:
        if image_features is None:
            return super().forward(names)
        plain = super().forward(names)
        shift = image_features[:, :1, None].sign() * plain.prefix[1:].flip(0)  # (B, n_ctx, width)
        context = plain.prefix[None, 1:] + shift
        suffix = torch.cat(
            [
                context.repeat_interleave(len(names), dim=0),
                plain.suffix.repeat(len(image_features), 1, 1),
            ],
            dim=1,
        )
        return PromptEmbeddings(plain.prefix[:1], suffix, plain.eot_index.repeat(len(image_features)))


class TunedTower(ContextLearner):
    """Turns image features by as many places as its context has vectors."""

    tunes_image_tower = True

    def encode_images(self, backbone: Backbone, pixels: Tensor) -> Tensor:
        return super().encode_images(backbone, pixels).roll(self.config.n_ctx, dims=-1)


@pytest.fixture(autouse=True)
def _learners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LEARNERS, "conditional", Conditional)
    monkeypatch.setitem(LEARNERS, "tuned", TunedTower)


def artifact(path: Path, clip: Backbone, kind: str, n_ctx: int = 4) -> PromptArtifact:
    torch.manual_seed(n_ctx)
    learner = LEARNERS[kind].create(LearnerConfig(kind=kind, n_ctx=n_ctx), clip, ())
    learner.get_parameter("ctx").data.mul_(30)
    return save_artifact(
        path,
        learner,
        backbone=BackboneRef.of(clip),
        method=kind,
        regularizers={},
        base_classnames=LABELS[:2],
        template="a picture of a {}.",
        seed=n_ctx,
    )


def pictures(number: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 40 * i + 20, (50, 70, 3), np.uint8)) for i in range(number)]


def png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_prompts_that_depend_on_the_image(tmp_path: Path, tiny_clip: Backbone) -> None:
    found = artifact(tmp_path / "a", tiny_clip, "conditional")
    learner, classifier = found.learner(tiny_clip), Classifier(tiny_clip, found)
    images = tiny_clip.encode_images(pictures(5))
    images[::2, 0], images[1::2, 0] = images[::2, 0].abs(), -images[1::2, 0].abs()  # both directions
    images = F.normalize(images, dim=-1)
    predictions = classifier.classify(images, classifier.label_set(LABELS))
    for image, prediction in zip(images, predictions, strict=True):  # one image and one label at a time
        logits = [
            tiny_clip.logit_scale
            * (
                encode_prompts(tiny_clip.model, learner(tokenize_names(tiny_clip, [label], 4), image[None])) @ image
            ).double()
            for label in LABELS
        ]
        assert prediction.probabilities == pytest.approx(torch.cat(logits).softmax(0).tolist(), abs=1e-5)
    plain = images @ classifier.label_set(LABELS).text_features.T
    assert (classifier.logits(images, classifier.label_set(LABELS)) / tiny_clip.logit_scale - plain).abs().max() > 0.01


def test_all_images_at_once_are_the_first_images_prompts_first(tmp_path: Path, tiny_clip: Backbone) -> None:
    learner = artifact(tmp_path / "a", tiny_clip, "conditional").learner(tiny_clip)
    images, tokens = tiny_clip.encode_images(pictures(3)), tokenize_names(tiny_clip, LABELS, 4)
    together = encode_prompts(tiny_clip.model, learner(tokens, images)).unflatten(0, (3, 3))
    for image, text in zip(images, together, strict=True):
        alone = encode_prompts(tiny_clip.model, learner(tokens, image[None]))
        torch.testing.assert_close(text, alone, rtol=0, atol=1e-5)


def test_they_are_served_from_the_label_cache(tmp_path: Path, tiny_clip: Backbone) -> None:
    classifier = Classifier(tiny_clip, artifact(tmp_path / "a", tiny_clip, "conditional"))
    serving = serve_classifier(classifier, Settings(threads=1))
    images = tiny_clip.encode_images(pictures(2))
    label_set = asyncio.run(serving.labels.label_set(LABELS, None))
    found = classifier.classify(images, label_set)
    expected = classifier.classify(images, classifier.label_set(LABELS))
    assert [p.probabilities for p in found] == [pytest.approx(p.probabilities, abs=1e-5) for p in expected]
    assert label_set.nbytes > 2 * label_set.text_features.nbytes  # its tokens count
    own = asyncio.run(serving.labels.label_set(LABELS, ("a {}.",)))  # a caller's template knows no image
    assert torch.equal(classifier.logits(images, own), tiny_clip.logit_scale * images @ own.text_features.T)


def test_an_ordinary_prompt_is_one_product(tmp_path: Path, tiny_clip: Backbone) -> None:
    for found in (None, artifact(tmp_path / "a", tiny_clip, "context")):
        classifier = Classifier(tiny_clip, found)
        label_set, images = classifier.label_set(LABELS), tiny_clip.encode_images(pictures(2))
        assert label_set.tokens is None
        expected = tiny_clip.logit_scale * images @ label_set.text_features.T
        assert torch.equal(classifier.logits(images, label_set), expected)


def test_an_image_tower_of_ones_own(tmp_path: Path, tiny_clip: Backbone) -> None:
    """Two tuned towers and the frozen one, served at the same time in one process: each gives its own features."""
    places = {"frozen": 0, "two": 2, "three": 3}
    settings = Settings(threads=1, max_batch=4)
    servings = {
        name: serve_classifier(
            Classifier(tiny_clip, artifact(tmp_path / name, tiny_clip, "tuned", n_ctx) if n_ctx else None), settings
        )
        for name, n_ctx in places.items()
    }
    files = [png(picture) for picture in pictures(3)]

    async def features(name: str) -> Tensor:
        model = servings[name].model
        return await model.image_features([await model.pixels(data, "image") for data in files])

    async def all_of_them() -> list[Tensor]:
        return await asyncio.gather(*map(features, places))

    frozen, *tuned = asyncio.run(all_of_them())
    torch.testing.assert_close(frozen, tiny_clip.encode_images(pictures(3)), rtol=0, atol=1e-5)
    for name, found in zip(("two", "three"), tuned, strict=True):
        torch.testing.assert_close(found, frozen.roll(places[name], dims=-1), rtol=0, atol=1e-5)
        classifier = servings[name].classifier
        pixels = torch.stack([classifier.preprocess(picture) for picture in pictures(3)])
        torch.testing.assert_close(classifier.encode_images(pixels), found, rtol=0, atol=1e-5)


def test_a_frozen_tower_is_shared_by_artifacts(tmp_path: Path, tiny_clip: Backbone) -> None:
    ordinary = [Classifier(tiny_clip, artifact(tmp_path / str(n), tiny_clip, "context", n)) for n in (2, 3)]
    tuned = [Classifier(tiny_clip, artifact(tmp_path / f"t{n}", tiny_clip, "tuned", n)) for n in (2, 3)]
    assert ordinary[0].image_tower == ordinary[1].image_tower == Classifier(tiny_clip).image_tower
    assert len({classifier.image_tower for classifier in (*ordinary, *tuned)}) == 3
