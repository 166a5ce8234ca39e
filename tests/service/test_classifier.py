"""The classifier computes what its parts compute one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from candor.calibration import Calibrator, DistanceAwareCalibrator, TemperatureCalibrator
from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, encode_prompts, save_artifact, tokenize_names
from candor.clip.artifact import BackboneRef
from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from service.classifier import Classifier

LABELS = ("red umbrella", "Blue_Anchor", "snowman")


def artifact_with(path: Path, tiny_clip: Backbone, calibrator: Calibrator) -> PromptArtifact:
    learner = ContextLearner.create(LearnerConfig(n_ctx=4), tiny_clip, ())
    learner.ctx.data.mul_(30)  # far from zero-shot, so that a mix-up would show
    return save_artifact(
        path,
        learner,
        backbone=BackboneRef.of(tiny_clip),
        method="coop+dor",
        regularizers={"dor": 8.0},
        base_classnames=("blue anchor", "green anchor"),
        template="a picture of a {}.",
        calibrator=calibrator,
        seed=1,
    )


@pytest.fixture
def artifact(tmp_path: Path, tiny_clip: Backbone) -> PromptArtifact:
    return artifact_with(tmp_path / "artifact", tiny_clip, TemperatureCalibrator(temperature=2.0))


def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, top, (50, 70, 3), np.uint8)) for top in (60, 150, 255)]


def test_scores_are_those_of_the_tuned_prompt_one_by_one(tiny_clip: Backbone, artifact: PromptArtifact) -> None:
    classifier = Classifier(tiny_clip, artifact)
    predictions = classifier.classify(tiny_clip.encode_images(images()), classifier.label_set(LABELS))
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


def reference_probabilities(
    clip: Backbone, artifact: PromptArtifact, labels: tuple[str, ...], factor_of: Callable[[int], float]
) -> list[list[float]]:
    """softmax(factor * logits) in float64, the factor by the predicted label."""
    learner = artifact.learner(clip)
    text = encode_prompts(clip.model, learner(tokenize_names(clip, labels, 4))).double()
    logits = clip.logit_scale * clip.encode_images(images()).double() @ text.T
    rows = []
    for row in logits.tolist():
        factor = factor_of(row.index(max(row)))
        powers = [math.exp(factor * (z - max(row))) for z in row]
        rows.append([p / sum(powers) for p in powers])
    return rows


def distance_factors(clip: Backbone, artifact: PromptArtifact, labels: tuple[str, ...], nearest: int) -> list[float]:
    """gamma of methods.md 4.2, one distance at a time in float64; base features from the artifact alone."""
    learner, base = artifact.learner(clip), artifact.config.base_classnames

    def tuned(names: tuple[str, ...]) -> list[list[float]]:
        return encode_prompts(clip.model, learner(tokenize_names(clip, names, 4))).double().tolist()

    def zero_shot(names: tuple[str, ...]) -> list[list[float]]:
        return clip.encode_text([artifact.config.template.format(n) for n in names]).double().tolist()

    factors = []
    for ft, zs in zip(tuned(labels), zero_shot(labels), strict=True):
        d_ft = sorted(math.dist(ft, b) for b in tuned(base))
        d_zs = sorted(math.dist(zs, b) for b in zero_shot(base))
        mean_ft, mean_zs = (sum(d[:nearest]) / len(d[:nearest]) for d in (d_ft, d_zs))
        factors.append(1.0 if d_ft[0] < 0.05 else math.exp(mean_zs - mean_ft))
    return factors


def test_a_temperature_is_applied_as_in_float64(tiny_clip: Backbone, artifact: PromptArtifact) -> None:
    labels = ("red umbrella", "blue anchor", "snowman")
    classifier = Classifier(tiny_clip, artifact)
    predictions = classifier.classify(tiny_clip.encode_images(images()), classifier.label_set(labels))
    expected = reference_probabilities(tiny_clip, artifact, labels, lambda _: 1 / 2.0)
    for prediction, row in zip(predictions, expected, strict=True):
        assert prediction.probabilities == pytest.approx(row, rel=1e-4)
        assert prediction.confidence == pytest.approx(max(row), rel=1e-4)


@pytest.mark.parametrize(("nearest", "temperature"), [(1, 1.0), (5, 1.0), (1, 1.7)])
def test_distances_are_applied_as_in_float64(tmp_path: Path, tiny_clip: Backbone, nearest: int, temperature: float) -> None:
    calibrator = DistanceAwareCalibrator(nearest=nearest, temperature=temperature)
    artifact = artifact_with(tmp_path / "dac", tiny_clip, calibrator)
    for labels in (("red umbrella", "blue anchor", "snowman"), ("grey cat", "moon"), ("green anchor", "x")):
        gamma = distance_factors(tiny_clip, artifact, labels, nearest)
        classifier = Classifier(tiny_clip, artifact)
        label_set = classifier.label_set(labels)
        predictions = classifier.classify(tiny_clip.encode_images(images()), label_set)
        expected = reference_probabilities(tiny_clip, artifact, labels, lambda i, g=gamma: g[i] / temperature)
        for prediction, row in zip(predictions, expected, strict=True):
            assert prediction.probabilities == pytest.approx(row, rel=1e-4)
        for wanted in range(len(labels)):  # every label predicted once: a factor of the wrong label would show
            logits = torch.zeros(len(labels))
            logits[wanted] = 3.0
            sure = 1 / (1 + (len(labels) - 1) * math.exp(-3 * gamma[wanted] / temperature))
            assert label_set.probabilities(logits)[wanted].item() == pytest.approx(sure, rel=1e-4)
        assert [g == 1 for g in gamma] == [scope == "base" for scope in label_set.scopes]


def test_a_calibrator_is_not_for_another_prompt(tmp_path: Path, tiny_clip: Backbone, artifact: PromptArtifact) -> None:
    dac = artifact_with(tmp_path / "dac", tiny_clip, DistanceAwareCalibrator(temperature=3.0))
    zero_shot = Classifier(tiny_clip)
    expected = zero_shot.classify(tiny_clip.encode_images(images()), zero_shot.label_set(LABELS, ("a {}.",)))
    for calibrated in (artifact, dac):
        classifier = Classifier(tiny_clip, calibrated)
        found = classifier.classify(tiny_clip.encode_images(images()), classifier.label_set(LABELS, ("a {}.",)))
        assert [p.probabilities for p in found] == [p.probabilities for p in expected]


def test_zero_shot_is_plain_softmax(tiny_clip: Backbone) -> None:
    classifier = Classifier(tiny_clip)
    text = tiny_clip.encode_text([f"a photo of a {name}." for name in ("red umbrella", "Blue Anchor", "snowman")])
    logits = tiny_clip.logit_scale * tiny_clip.encode_images(images()) @ text.T
    found = [p.probabilities for p in classifier.classify(tiny_clip.encode_images(images()), classifier.label_set(LABELS))]
    np.testing.assert_allclose(found, logits.double().softmax(dim=-1), rtol=1e-5)


def test_scope_and_deviation_of_a_label_set(tiny_clip: Backbone, artifact: PromptArtifact) -> None:
    label_set = Classifier(tiny_clip, artifact).label_set(LABELS)
    assert label_set.scopes == ("new", "base", "new")
    assert label_set.text_deviation > 0.01
    assert Classifier(tiny_clip).label_set(LABELS).text_deviation == pytest.approx(0, abs=1e-6)
    assert Classifier(tiny_clip).label_set(LABELS).scopes == ("new", "new", "new")


def test_a_template_of_the_caller_replaces_the_tuned_prompt(tiny_clip: Backbone, artifact: PromptArtifact) -> None:
    label_set = Classifier(tiny_clip, artifact).label_set(LABELS, ("a drawing of a {}!",))
    texts = [f"a drawing of a {name}!" for name in ("red umbrella", "Blue Anchor", "snowman")]
    assert torch.equal(label_set.text_features, tiny_clip.encode_text(texts))


def test_impossible_labels(tiny_clip: Backbone) -> None:
    classifier = Classifier(tiny_clip)
    for labels in ([], ["cat", ""], ["cat", "CAT"], ["x " * 100]):
        with pytest.raises(InvalidInput):
            classifier.label_set(labels)


def test_several_templates_are_averaged_as_in_float64(tiny_clip: Backbone, artifact: PromptArtifact) -> None:
    templates = ("a drawing of a {}!", "{}", "the {} in the snow")
    for found in (None, artifact):
        features = Classifier(tiny_clip, found).label_set(LABELS, templates).text_features
        for name, feature in zip(("red umbrella", "Blue Anchor", "snowman"), features.tolist(), strict=True):
            rows = [tiny_clip.encode_text([template.format(name)])[0].tolist() for template in templates]
            unit = [[x / math.hypot(*row) for x in row] for row in rows]
            mean = [sum(column) / 3 for column in zip(*unit, strict=True)]
            assert feature == pytest.approx([x / math.hypot(*mean) for x in mean], abs=1e-5)


def test_templates_that_cannot_be_used(tiny_clip: Backbone) -> None:
    classifier = Classifier(tiny_clip)
    classifier.check_templates(("{}",) * 100)
    for templates in ((), ("{}",) * 101, ("no place",), ("{} {}",), ("{} {x}",), ("{}<start_of_text>",)):
        with pytest.raises(InvalidInput):
            classifier.check_templates(templates)


@pytest.mark.parametrize("templates", [None, ("a {}",), ("{}", "x " * 60 + "{}")])
def test_labels_are_checked_as_they_are_encoded(
    tiny_clip: Backbone, artifact: PromptArtifact, templates: tuple[str, ...] | None
) -> None:
    """A label passes the check exactly where it can be encoded."""
    for found in (None, artifact):
        classifier, outcomes = Classifier(tiny_clip, found), []
        for number in range(1, 80, 3):
            errors = []
            for act in (classifier.check_labels, classifier.encode_labels):
                try:
                    act(("cat", "x " * number), templates)
                    errors.append("")
                except InvalidInput as error:
                    errors.append(str(error))
            assert errors[0] == errors[1]
            outcomes.append(not errors[0])
        assert {True, False} == set(outcomes)
