"""Calibrators are fitted on held-out training images alone, and judged by what they do to them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from candor.calibration import (
    TEMPERATURE_RANGE,
    DistanceAwareCalibrator,
    LabelGeometry,
    TemperatureCalibrator,
    fit_temperature,
)
from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, save_artifact
from candor.clip.artifact import BackboneRef, with_calibrator
from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from training.artifact_evaluation import compare_artifacts
from training.calibrate import calibrate, fit_calibrator, held_out_samples
from training.data import ImageDataset, Sample, classnames_of, few_shot
from training.datasets import load_dataset
from training.features import FeatureCache, default_cache_dir

# logit difference 2, right three times in four: the best temperature makes every confidence 3/4
LOGITS, LABELS = torch.tensor([[2.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])
SURE = 1 / (1 + math.exp(-2))
BEST = 2 / math.log(3)
OWN = torch.eye(2)
BASE = LabelGeometry(OWN, OWN, OWN, OWN, torch.ones(2, dtype=torch.bool))
SHOTS, SEED = 16, 1


def test_a_temperature_by_hand() -> None:
    fit = fit_calibrator("temperature", LOGITS, LABELS, BASE)
    assert isinstance(fit.calibrator, TemperatureCalibrator)
    assert fit.calibrator.temperature == pytest.approx(BEST, rel=1e-6)
    assert (fit.ece_before, fit.ece_after) == (pytest.approx(SURE - 0.75), pytest.approx(0, abs=1e-6))
    assert fit.nll_before == pytest.approx(-(3 * math.log(SURE) + math.log(1 - SURE)) / 4)
    assert fit.nll_after == pytest.approx(-(3 * math.log(0.75) + math.log(0.25)) / 4)
    assert fit.images == 4
    assert fit.objection is None


def test_distances_alone_change_nothing_on_base_labels() -> None:
    fit = fit_calibrator("dac", LOGITS, LABELS, BASE)
    assert fit.calibrator == DistanceAwareCalibrator()
    assert (fit.ece_after, fit.nll_after) == (fit.ece_before, fit.nll_before)
    assert fit.objection is None


def test_the_temperature_is_fitted_to_what_the_distances_leave() -> None:
    fit = fit_calibrator("dac+temperature", LOGITS, LABELS, BASE)
    assert fit.calibrator.kind == "dac"
    assert fit.calibrator.temperature == pytest.approx(BEST, rel=1e-6)
    new = torch.zeros(2, dtype=torch.bool)
    moved = LabelGeometry(-OWN, OWN, OWN, OWN, new)  # nearest zero-shot 0 and sqrt 2, tuned sqrt 2 and 2
    gamma = math.exp(math.sqrt(2) / 2 - (math.sqrt(2) + 2) / 2)
    fit = fit_calibrator("dac+temperature", LOGITS, LABELS, moved)
    assert fit.calibrator.temperature == pytest.approx(gamma * BEST, rel=1e-6)
    assert fit.ece_after == pytest.approx(0, abs=1e-6)


def test_what_makes_validation_worse_is_objected_to() -> None:
    best = TemperatureCalibrator(temperature=BEST)
    fit = fit_calibrator("dac", LOGITS, LABELS, BASE, best)
    assert fit.objection == f"validation ECE would get worse, 0.00 % -> {100 * (SURE - 0.75):.2f} %"
    removed = fit_calibrator("none", LOGITS, LABELS, BASE, best)
    assert removed.calibrator == TemperatureCalibrator()
    assert removed.ece_after == fit.ece_after
    assert removed.objection is None  # going back is the caller's own wish


def test_images_that_leave_the_temperature_open_are_objected_to() -> None:
    fit = fit_calibrator("temperature", LOGITS, torch.zeros(4, dtype=torch.long), BASE)
    assert fit.calibrator.temperature == TEMPERATURE_RANGE[0]
    assert fit.ece_after < fit.ece_before  # validation alone would praise it
    assert fit.objection == "4 held-out images do not decide a temperature: 0.05 is an end of its range 0.05..20"


def test_an_unknown_kind() -> None:
    with pytest.raises(InvalidInput, match="'magic'; valid: temperature, dac, dac\\+temperature, none"):
        fit_calibrator("magic", LOGITS, LABELS, BASE)


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    whole = load_dataset("glyphs/cats-and-cows")
    return replace(whole, test=whole.test[::40])


def artifact_of(path: Path, clip: Backbone, dataset: ImageDataset, **fields: object) -> PromptArtifact:
    learner = ContextLearner.create(LearnerConfig(n_ctx=4, ctx_init="a picture of a"), clip, ())
    defaults = {
        "backbone": BackboneRef.of(clip),
        "method": "coop",
        "regularizers": {},
        "base_classnames": classnames_of(dataset, "base"),
        "template": dataset.template,
        "training": {"dataset": dataset.name, "shots": SHOTS},
        "seed": SEED,
    }
    return save_artifact(path, learner, **(defaults | fields))


@pytest.fixture
def artifact(tmp_path: Path, glyph_clip: Backbone, dataset: ImageDataset) -> PromptArtifact:
    return artifact_of(tmp_path / "a", glyph_clip, dataset)


@pytest.fixture(scope="module")
def cache() -> FeatureCache:
    return FeatureCache(default_cache_dir())


@pytest.mark.parametrize("seed", [None, SEED, 7])
def test_held_out_images_are_neither_shots_nor_test_images(
    artifact: PromptArtifact, dataset: ImageDataset, seed: int | None
) -> None:
    base = range(len(classnames_of(dataset, "base")))
    samples = held_out_samples(artifact, dataset, tuple(base), seed)
    shots = few_shot(dataset.train, SHOTS, SEED)
    opened = {id(sample.open) for sample in samples}
    assert len(opened) == len(samples) == 4 * len(base)
    assert not opened & {id(s.open) for s in (*shots, *dataset.test)}
    assert opened <= {id(s.open) for s in dataset.train}
    assert np.bincount([s.label for s in samples]).tolist() == [4] * len(base)


def test_another_seed_draws_other_held_out_images(artifact: PromptArtifact, dataset: ImageDataset) -> None:
    draws = [{id(s.open) for s in held_out_samples(artifact, dataset, (0, 1, 2), seed)} for seed in (None, 7, 8)]
    assert all(a != b for a, b in ((draws[0], draws[1]), (draws[1], draws[2]), (draws[0], draws[2])))


def test_a_validation_part_comes_first_and_labels_count_within_base(
    artifact: PromptArtifact, dataset: ImageDataset
) -> None:
    val = tuple(Sample(label, dataset.train[0].open) for label in (3, 3, 9))
    for seed in (None, 7):
        samples = held_out_samples(artifact, replace(dataset, val=val), (3, 5), seed)
        assert [s.label for s in samples if s.open is val[0].open] == [0, 0]
        assert sorted(s.label for s in samples) == [0, 0, 1, 1, 1, 1]


def test_when_nothing_is_held_out(tmp_path: Path, glyph_clip: Backbone, dataset: ImageDataset) -> None:
    greedy = artifact_of(tmp_path / "greedy", glyph_clip, dataset, training={"shots": 32})
    with pytest.raises(InvalidInput, match="has no image to fit on"):
        held_out_samples(greedy, dataset, (0, 1))
    silent = artifact_of(tmp_path / "silent", glyph_clip, dataset, training={})
    with pytest.raises(InvalidInput, match="does not say on how many shots"):
        held_out_samples(silent, dataset, (0, 1))


def test_the_fit_is_the_optimum_on_held_out_images(
    artifact: PromptArtifact, glyph_clip: Backbone, dataset: ImageDataset, cache: FeatureCache
) -> None:
    result = calibrate(glyph_clip, artifact, dataset, "temperature", cache=cache)
    samples = held_out_samples(artifact, dataset, tuple(range(len(classnames_of(dataset, "base")))))
    images = glyph_clip.encode_images([s.open() for s in samples])
    texts = [dataset.template.format(name) for name in classnames_of(dataset, "base")]
    # the untouched context is the words of the template, so the hand-written prompt gives the same features
    assert dataset.template == "a picture of a {}."
    logits = glyph_clip.logit_scale * images @ glyph_clip.encode_text(texts).T
    expected = fit_temperature(logits, torch.tensor([s.label for s in samples]))
    assert result.fit.calibrator.temperature == pytest.approx(expected, rel=1e-3)
    assert result.fit.images == len(samples)
    assert result.fit.nll_after <= result.fit.nll_before


@pytest.mark.parametrize("kind", ["temperature", "dac", "dac+temperature", "none"])
def test_test_images_decide_nothing_and_predictions_stay(
    artifact: PromptArtifact, glyph_clip: Backbone, dataset: ImageDataset, cache: FeatureCache, kind: str
) -> None:
    result = calibrate(glyph_clip, artifact, dataset, kind, cache=cache)
    assert list(result.before) == list(result.after) == ["base", "new"]
    for scope in result.before:
        assert np.array_equal(result.before[scope].correct, result.after[scope].correct)
    wrong = replace(dataset, test=tuple(replace(s, label=(s.label + 1) % len(dataset.classnames)) for s in dataset.test))
    other = calibrate(glyph_clip, artifact, wrong, kind, cache=cache)
    assert other.fit == result.fit
    assert other.after["base"].figures()["accuracy"] < result.after["base"].figures()["accuracy"]


@pytest.mark.parametrize("kind", ["temperature", "dac+temperature"])
def test_what_is_stored_is_what_the_written_artifact_shows(
    tmp_path: Path, artifact: PromptArtifact, glyph_clip: Backbone, dataset: ImageDataset, cache: FeatureCache, kind: str
) -> None:
    result = calibrate(glyph_clip, artifact, dataset, kind, cache=cache)
    written = with_calibrator(
        artifact,
        tmp_path / "b",
        result.fit.calibrator,
        reference={scope: found.reference() for scope, found in result.after.items()},
        evaluation={scope: found.figures() for scope, found in result.after.items()},
    )
    runs, _ = compare_artifacts({"b": written}, {glyph_clip.digest: glyph_clip}, dataset, zero_shot=False, cache=cache)
    for scope, found in runs[0].scopes.items():
        assert written.config.evaluation[scope] == pytest.approx(found.figures())
        assert written.config.reference[scope] == found.reference()
    before = result.before["base"]
    sharper = result.fit.calibrator.temperature < 1
    assert (result.after["base"].confidence.mean() > before.confidence.mean()) == sharper


def test_an_artifact_of_other_classes_is_refused(
    tmp_path: Path, glyph_clip: Backbone, dataset: ImageDataset, cache: FeatureCache
) -> None:
    names = (*classnames_of(dataset, "base")[:5], "something else")
    other = artifact_of(tmp_path / "other", glyph_clip, dataset, base_classnames=names)
    with pytest.raises(InvalidInput, match=r"tuned on 6 base classes, of which glyphs/cats-and-cows has 5"):
        calibrate(glyph_clip, other, dataset, "temperature", cache=cache)
    with pytest.raises(InvalidInput, match="unknown kind of calibrator 'magic'"):
        calibrate(glyph_clip, other, dataset, "magic", cache=cache)


def test_a_class_specific_context_is_calibrated_on_base_alone(
    tmp_path: Path, glyph_clip: Backbone, dataset: ImageDataset, cache: FeatureCache
) -> None:
    names = classnames_of(dataset, "base")
    config = LearnerConfig(n_ctx=4, ctx_init="a picture of a", class_specific=True)
    learner = ContextLearner.create(config, glyph_clip, names)
    own = artifact_of(tmp_path / "a", glyph_clip, dataset)
    fields = {k: v for k, v in own.config.model_dump().items() if k not in ("learner", "versions", "prompt_sha256")}
    specific = save_artifact(tmp_path / "specific", learner, **fields)
    result = calibrate(glyph_clip, specific, dataset, "temperature", cache=cache)
    assert list(result.after) == ["base"]
    shared = calibrate(glyph_clip, own, dataset, "temperature", cache=cache)
    assert result.fit.calibrator.temperature == pytest.approx(shared.fit.calibrator.temperature, rel=1e-3)
