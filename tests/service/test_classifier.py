"""The classifier computes what its parts compute one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from candor.calibration import TemperatureCalibrator
from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, encode_prompts, save_artifact, tokenize_names
from candor.clip.artifact import BackboneRef
from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from service.classifier import Classifier
from vocab_index.index import VocabularyIndex
from vocab_index.words import collect

LABELS = ("red umbrella", "Blue_Anchor", "snowman")


@pytest.fixture
def artifact(tmp_path: Path, tiny_clip: Backbone) -> PromptArtifact:
    learner = ContextLearner.create(LearnerConfig(n_ctx=4), tiny_clip, ())
    learner.ctx.data.mul_(30)  # far from zero-shot, so that a mix-up would show
    return save_artifact(
        tmp_path / "artifact",
        learner,
        backbone=BackboneRef.of(tiny_clip),
        method="coop+dor",
        regularizers={"dor": 8.0},
        base_classnames=("blue anchor", "green anchor"),
        template="a picture of a {}.",
        calibrator=TemperatureCalibrator(temperature=2.0),
        seed=1,
    )


def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, top, (50, 70, 3), np.uint8)) for top in (60, 150, 255)]


def test_scores_are_those_of_the_tuned_prompt_one_by_one(tiny_clip: Backbone, artifact: PromptArtifact) -> None:
    classifier = Classifier(tiny_clip, artifact)
    predictions = classifier.classify(images(), classifier.label_set(LABELS))
    learner = artifact.learner(tiny_clip)
    for image, prediction in zip(images(), predictions, strict=True):
        feature = tiny_clip.encode_image(tiny_clip.preprocess(image)[None])
        text = [
            encode_prompts(tiny_clip.model, learner(tokenize_names(tiny_clip, [name], 4)))
            for name in ("red umbrella", "Blue Anchor", "snowman")
        ]
        logits = torch.stack([tiny_clip.logit_scale * (feature @ t.T).squeeze() for t in text]) / 2.0
        expected = logits.softmax(dim=0)
        assert prediction.probabilities == pytest.approx(expected.tolist(), abs=1e-5)
        assert prediction.confidence == pytest.approx(expected.max().item(), abs=1e-5)
        assert prediction.label == ("red umbrella", "Blue Anchor", "snowman")[int(expected.argmax())]


def test_scope_and_deviation_of_a_label_set(tiny_clip: Backbone, artifact: PromptArtifact) -> None:
    label_set = Classifier(tiny_clip, artifact).label_set(LABELS)
    assert label_set.scopes == ("new", "base", "new")
    assert label_set.text_deviation > 0.01
    assert Classifier(tiny_clip).label_set(LABELS).text_deviation == pytest.approx(0, abs=1e-6)
    assert Classifier(tiny_clip).label_set(LABELS).scopes == ("new", "new", "new")


def test_a_template_of_the_caller_replaces_the_tuned_prompt(tiny_clip: Backbone, artifact: PromptArtifact) -> None:
    label_set = Classifier(tiny_clip, artifact).label_set(LABELS, "a drawing of a {}!")
    texts = [f"a drawing of a {name}!" for name in ("red umbrella", "Blue Anchor", "snowman")]
    assert torch.equal(label_set.text_features, tiny_clip.encode_text(texts))


def test_a_label_set_is_encoded_once(tiny_clip: Backbone) -> None:
    classifier = Classifier(tiny_clip, cached_label_sets=2)
    first = classifier.label_set(LABELS)
    assert classifier.label_set(list(LABELS)) is first
    classifier.label_set(["a", "b"])
    classifier.label_set(["a", "c"])
    assert classifier.label_set(LABELS) is not first  # only two are kept


def test_nearest_words_come_from_the_vocabulary(tiny_clip: Backbone) -> None:
    index = VocabularyIndex.build(tiny_clip, collect("x", ["cat", "dog", "sun"]))
    classifier = Classifier(tiny_clip, index=index)
    prediction = classifier.classify(images()[:1], classifier.label_set(LABELS), nearest=2)[0]
    feature = tiny_clip.encode_images(images()[:1])
    cosines = dict(
        zip(
            index.words,
            (feature @ tiny_clip.encode_text([f"a photo of a {w}." for w in index.words]).T)[0].tolist(),
            strict=True,
        )
    )
    assert [n.word for n in prediction.nearest] == sorted(cosines, key=lambda w: -cosines[w])[:2]
    assert classifier.classify(images()[:1], classifier.label_set(LABELS), nearest=0)[0].nearest == ()


def test_impossible_labels(tiny_clip: Backbone) -> None:
    classifier = Classifier(tiny_clip)
    for labels in ([], ["cat", ""], ["cat", "CAT"], ["x " * 100]):
        with pytest.raises(InvalidInput):
            classifier.label_set(labels)
