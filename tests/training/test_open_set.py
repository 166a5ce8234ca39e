"""Thresholds come from held-out images alone, and the evaluation draws, scores and averages as it says."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from candor.calibration.calibrators import TemperatureCalibrator
from candor.calibration.open_set import auroc, mcm, threshold_at
from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, load_artifact, save_artifact
from candor.clip.artifact import CONFIG, BackboneRef, with_calibrator
from candor.clip.backbone import Backbone
from candor.errors import IntegrityError, InvalidInput
from glyph_world import TEMPLATE
from glyph_world.tasks import find_task
from training.artifact_evaluation import tuned_text
from training.calibrate import calibrate
from training.data import ImageDataset, classnames_of
from training.datasets import load_dataset
from training.features import encode_samples
from training.glyphs import other_pictograms
from training.open_set import (
    MAX_COSINE,
    NO_CLASS,
    OTHER_CLASSES,
    OpenSetRun,
    OpenSetTask,
    drawn_labels,
    evaluate_open_set,
    first_of_each,
    fit_thresholds,
    merged,
)
from training.open_set_report import DOCUMENT, HISTOGRAMS, TABLE, open_set_document, summarise, write_open_set
from vocab_index.index import VocabularyIndex
from vocab_index.open_set import OpenSet
from vocab_index.sources.words import collect

TASK = "emblems-and-notes"
WORDS = ["cat face", "red thing", "sun", "cloud", "blue chess king", "scissors", "envelope", "grinning face"]


@pytest.fixture(scope="module")
def index(glyph_clip: Backbone) -> VocabularyIndex:
    return VocabularyIndex.build(glyph_clip, collect("few", WORDS), TEMPLATE)


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    whole = load_dataset(f"glyphs/{TASK}")
    return replace(whole, test=first_of_each(whole.test, 2))


@pytest.fixture
def artifact(tmp_path: Path, glyph_clip: Backbone, dataset: ImageDataset) -> PromptArtifact:
    return save_artifact(
        tmp_path / "a",
        ContextLearner.create(LearnerConfig(n_ctx=4, ctx_init="a picture of a"), glyph_clip, ()),
        backbone=BackboneRef.of(glyph_clip),
        method="coop",
        regularizers={},
        base_classnames=classnames_of(dataset, "base"),
        template=dataset.template,
        training={"dataset": dataset.name, "shots": 16},
        seed=1,
    )


def unit(count: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, 64), dim=-1)


def test_thresholds_keep_the_share_of_the_images(index: VocabularyIndex) -> None:
    images, text, zero_shot = unit(200), unit(6), unit(6)
    plain, vocabulary = fit_thresholds(images, text, zero_shot, 20.0, index, 0.9)
    assert (plain.score, plain.vocabulary, plain.images, plain.labels) == ("mcm", None, 200, 6)
    assert plain.threshold == threshold_at(mcm(images @ text.T), 0.9)
    assert (vocabulary.score, vocabulary.vocabulary, vocabulary.true_positive_rate) == ("neglabel", index.digest, 0.9)
    scores = OpenSet(20.0, index).for_labels(text, zero_shot).score(images)
    assert float((scores >= vocabulary.threshold).double().mean()) == 0.9
    assert fit_thresholds(images, text, zero_shot, 20.0) == (
        plain.model_copy(update={"true_positive_rate": 0.95, "threshold": threshold_at(mcm(images @ text.T), 0.95)}),
    )


def test_when_there_is_nothing_to_fit(index: VocabularyIndex) -> None:
    assert fit_thresholds(unit(0), unit(3), unit(3), 20.0, index) == ()
    assert [t.score for t in fit_thresholds(unit(9), unit(1), unit(1), 20.0, index)] == ["neglabel"]


def test_merging_replaces_the_same_score_and_vocabulary(index: VocabularyIndex) -> None:
    old = fit_thresholds(unit(50), unit(3), unit(3), 20.0, index)
    elsewhere = old[1].model_copy(update={"vocabulary": "f" * 64})
    new = fit_thresholds(unit(70), unit(3), unit(3), 20.0)
    assert merged((*old, elsewhere), new) == (new[0], old[1], elsewhere)


def test_calibrating_keeps_the_thresholds_or_fits_them_on_the_held_out_images(
    tmp_path: Path, glyph_clip: Backbone, artifact: PromptArtifact, dataset: ImageDataset, index: VocabularyIndex
) -> None:
    assert calibrate(glyph_clip, artifact, dataset, "temperature").open_set == ()
    fitted = calibrate(glyph_clip, artifact, dataset, "keep", index=index, true_positive_rate=0.9)
    assert [(t.score, t.true_positive_rate, t.images) for t in fitted.open_set] == [
        ("mcm", 0.9, 4 * len(artifact.config.base_classnames)),
        ("neglabel", 0.9, 4 * len(artifact.config.base_classnames)),
    ]
    assert (fitted.fit.calibrator, fitted.fit.objection) == (TemperatureCalibrator(), None)
    kept = {"reference": {}, "evaluation": {}}
    path = tmp_path / "b"
    stored = with_calibrator(artifact, path, TemperatureCalibrator(), open_set=fitted.open_set, **kept)
    assert load_artifact(path).config.open_set == fitted.open_set
    again = with_calibrator(stored, tmp_path / "c", TemperatureCalibrator(temperature=3.0), **kept)
    assert again.config.open_set == fitted.open_set
    # no calibrator changes a score: the same thresholds come out under another one
    assert calibrate(glyph_clip, again, dataset, "keep", index=index, true_positive_rate=0.9).open_set == fitted.open_set
    # a vocabulary that is added, without a rate, has the default one; MCM's stays at the rate that was asked for
    added = calibrate(glyph_clip, again, dataset, "keep", index=index).open_set
    assert [(t.score, t.true_positive_rate) for t in added] == [("mcm", 0.9), ("neglabel", 0.95)]
    assert added[0] == fitted.open_set[0]
    with pytest.raises(InvalidInput, match=r"got 1\.5"):
        calibrate(glyph_clip, artifact, dataset, "keep", true_positive_rate=1.5)


def test_a_threshold_in_an_artifact_that_cannot_be(tmp_path: Path, artifact: PromptArtifact) -> None:
    document = json.loads((tmp_path / "a" / CONFIG).read_text())
    document["open_set"] = [{"score": "mcm", "threshold": 2, "true_positive_rate": 0.95, "images": 4, "labels": 3}]
    (tmp_path / "a" / CONFIG).write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match="open_set"):
        load_artifact(tmp_path / "a")


def test_pictures_of_no_class(dataset: ImageDataset) -> None:
    samples = other_pictograms(TASK, 1)
    world = find_task(TASK)
    shown = {pictogram for pictograms, _ in world.labels.values() for pictogram in pictograms}
    scenes = [sample.open.args[0] for sample in samples]  # type: ignore[attr-defined]
    assert not shown & {scene.pictogram for scene in scenes}
    assert len({scene.pictogram for scene in scenes}) == len(scenes) > 100
    assert {scene.style for scene in scenes} == {world.style}
    assert {sample.label for sample in samples} == {-1}
    assert scenes == [sample.open.args[0] for sample in other_pictograms(TASK, 1)]  # type: ignore[attr-defined]


def test_a_draw_of_labels(dataset: ImageDataset) -> None:
    draws = [drawn_labels(dataset, seed) for seed in range(30)]
    count = len(dataset.classnames)
    assert all(len(set(draw)) == count // 2 and draw == sorted(draw) for draw in draws)
    assert {label for draw in draws for label in draw} == set(range(count))
    assert draws[3] == drawn_labels(dataset, 3)
    assert first_of_each(dataset.train, 1) == dataset.train[::32]


def test_the_evaluation_is_the_scores_of_its_draws(
    tmp_path: Path, glyph_clip: Backbone, artifact: PromptArtifact, dataset: ImageDataset, index: VocabularyIndex
) -> None:
    others = other_pictograms(TASK, 1)[:20]
    tasks = [OpenSetTask(dataset, others)]
    runs, skipped = evaluate_open_set(glyph_clip, tasks, {"mine": artifact}, index, [1, 2])
    assert (len(runs), skipped) == (2 * 2 * 3 * 2, ())
    rows = drawn_labels(dataset, 2)
    test = encode_samples(glyph_clip, dataset.test)
    known = np.isin(test.labels.numpy(), rows)
    text = tuned_text(glyph_clip, artifact.learner(glyph_clip), [dataset.classnames[row] for row in rows])
    cosine = (test.image_features[:, 0] @ text.T).amax(dim=1).numpy()
    run = next(r for r in runs if (r.prompt, r.seed, r.score, r.unknown) == ("mine", 2, MAX_COSINE, OTHER_CLASSES))
    figures = run.figures()
    assert figures["auroc"] == pytest.approx(auroc(cosine[known], cosine[~known]))
    assert figures["known_kept"] == (run.known_scores >= run.threshold).mean()
    assert (len(run.known_scores), len(run.unknown_scores)) == (known.sum(), (~known).sum())
    assert {len(r.unknown_scores) for r in runs if r.unknown == NO_CLASS} == {20}
    document = open_set_document(runs, 0.95, "few, 8 words")
    write_open_set(tmp_path, runs, document)
    assert json.loads((tmp_path / DOCUMENT).read_text()) == document
    assert len((tmp_path / TABLE).read_text().splitlines()) == len(runs) + 1
    assert (tmp_path / HISTOGRAMS).read_bytes().startswith(b"\x89PNG")
    assert {row["score"] for row in document["rows"]} == {"mcm", MAX_COSINE, "neglabel"}


def test_the_summary_averages_data_sets_before_seeds() -> None:
    def run(dataset: str, seed: int, unknown: list[float], threshold: float) -> OpenSetRun:
        scores = (np.array([0.5, 1.0], np.float32), np.array(unknown, np.float32))
        return OpenSetRun("zero-shot", dataset, seed, "mcm", OTHER_CLASSES, *scores, threshold)

    runs = [run("a", 1, [0.0], 0.5), run("b", 1, [0.7], 0.6), run("a", 2, [2.0], 0.5), run("b", 2, [2.0], math.nan)]
    found = summarise(runs)["zero-shot", OTHER_CLASSES, "mcm"]
    assert found["auroc"] == {"mean": pytest.approx(0.375), "std": pytest.approx(0.75 / math.sqrt(2))}
    assert math.isnan(found["known_kept"]["mean"])
    assert summarise(runs[:2])["zero-shot", OTHER_CLASSES, "mcm"]["known_kept"]["mean"] == 0.75


def test_what_cannot_be_evaluated(glyph_clip: Backbone, dataset: ImageDataset) -> None:
    with pytest.raises(InvalidInput, match="distinct, got \\[1, 1\\]"):
        evaluate_open_set(glyph_clip, [], {}, None, [1, 1])
    few = replace(dataset, classnames=dataset.classnames[:3])
    with pytest.raises(InvalidInput, match="has 3 classes"):
        evaluate_open_set(glyph_clip, [OpenSetTask(few)], {}, None, [1])
    lopsided = replace(dataset, test=dataset.test[:1], train=())
    with pytest.raises(InvalidInput, match="seed 1: test images are all of"):
        evaluate_open_set(glyph_clip, [OpenSetTask(lopsided)], {}, None, [1])
