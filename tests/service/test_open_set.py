"""Open-set answers of the classifier: the score of its parts, a threshold only where it was made for this."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from candor.calibration.open_set import OpenSetThreshold, mcm
from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, encode_prompts, save_artifact, tokenize_names
from candor.clip.artifact import BackboneRef
from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from service.classifier import NEAREST, Classifier
from service.label_set import LabelSet
from service.open_set import OpenSetAnswer, OpenSetViews
from vocab_index.index import VocabularyIndex
from vocab_index.open_set import OpenSet
from vocab_index.sources.words import collect

LABELS = ("red umbrella", "blue anchor", "snowman")
WORDS = ("Red Umbrella", "blue anchors", "cat", "dog", "sun", "moon", "tree", "house", "glass", "key", "map", "pen")
TEMPLATE = "a picture of a {}."


@pytest.fixture(scope="module")
def index(tiny_clip: Backbone) -> VocabularyIndex:
    return VocabularyIndex.build(tiny_clip, collect("x", WORDS))


def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, top, (50, 70, 3), np.uint8)) for top in (60, 150, 255)]


def artifact_with(path: Path, clip: Backbone, thresholds: tuple[OpenSetThreshold, ...]) -> PromptArtifact:
    torch.manual_seed(0)  # the same prompt in every artifact
    learner = ContextLearner.create(LearnerConfig(n_ctx=4), clip, ())
    learner.ctx.data.mul_(30)  # far from zero-shot, so that a mix-up would show
    artifact = save_artifact(
        path,
        learner,
        backbone=BackboneRef.of(clip),
        method="coop+dor",
        regularizers={},
        base_classnames=LABELS,
        template=TEMPLATE,
        seed=1,
    )
    config = artifact.config.model_copy(update={"open_set": thresholds})
    return PromptArtifact(config, artifact.ctx, artifact.path)


def threshold(value: float, vocabulary: str | None, labels: int = 3) -> OpenSetThreshold:
    score = "mcm" if vocabulary is None else "neglabel"
    return OpenSetThreshold(
        score=score, threshold=value, true_positive_rate=0.95, images=9, labels=labels, vocabulary=vocabulary
    )


def answers(classifier: Classifier, label_set: LabelSet) -> list[OpenSetAnswer]:
    predictions = classifier.classify(
        classifier.backbone.encode_images(images()), label_set, classifier.open_set_view(label_set)
    )
    found = [p.open_set for p in predictions if p.open_set is not None]
    assert len(found) == len(images())
    return found


def test_the_score_is_that_of_the_tuned_prompt(tmp_path: Path, tiny_clip: Backbone, index: VocabularyIndex) -> None:
    artifact = artifact_with(tmp_path / "a", tiny_clip, ())
    prompts = artifact.learner(tiny_clip)(tokenize_names(tiny_clip, LABELS, 4))
    tuned = encode_prompts(tiny_clip.model, prompts).detach()
    zero_shot = tiny_clip.encode_text([TEMPLATE.format(label) for label in LABELS])
    features = tiny_clip.encode_images(images())
    for vocabulary in (index, None):
        classifier = Classifier(tiny_clip, artifact, vocabulary)
        found = [a.score for a in answers(classifier, classifier.label_set(LABELS))]
        expected = OpenSet(tiny_clip.logit_scale, vocabulary).for_labels(tuned, zero_shot).score(features)
        assert found == pytest.approx(expected.tolist(), abs=1e-6)
    assert found == pytest.approx(mcm(features @ tuned.T).tolist(), abs=1e-6)  # without a vocabulary


def test_known_is_at_or_above_the_threshold(tmp_path: Path, tiny_clip: Backbone, index: VocabularyIndex) -> None:
    for number, vocabulary in enumerate((index, None)):
        plain = Classifier(tiny_clip, artifact_with(tmp_path / f"plain{number}", tiny_clip, ()), vocabulary)
        scores = [a.score for a in answers(plain, plain.label_set(LABELS))]
        middle = sorted(scores)[1]
        limit = threshold(middle, vocabulary.digest if vocabulary else None)
        judge = Classifier(tiny_clip, artifact_with(tmp_path / f"judge{number}", tiny_clip, (limit,)), vocabulary)
        found = answers(judge, judge.label_set(LABELS))
        assert [a.score for a in found] == scores
        assert [a.known for a in found] == [score >= middle for score in scores]
        assert sorted(a.known is True for a in found) == [False, True, True]


def test_a_threshold_judges_only_what_it_was_made_for(tmp_path: Path, tiny_clip: Backbone, index: VocabularyIndex) -> None:
    def known(limit: OpenSetThreshold, vocabulary: VocabularyIndex | None, template: str | None = None) -> set[bool | None]:
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        classifier = Classifier(tiny_clip, artifact_with(path, tiny_clip, (limit,)), vocabulary)
        return {a.known for a in answers(classifier, classifier.label_set(LABELS, template and (template,)))}

    assert known(threshold(0.0, index.digest), index) == {True}
    assert known(threshold(0.0, "0" * 64), index) == {None}  # another vocabulary's
    assert known(threshold(0.01, None), index) == {None}  # the score is NegLabel
    assert known(threshold(0.0, index.digest), None) == {None}  # the score is MCM
    assert known(threshold(0.0, index.digest), index, "a {}!") == {None}  # not the tuned prompt
    assert known(threshold(0.01, None), None) == {True}
    zero_shot = Classifier(tiny_clip, index=index)
    assert {a.known for a in answers(zero_shot, zero_shot.label_set(LABELS))} == {None}


def test_mcms_threshold_moves_with_the_number_of_labels(tiny_clip: Backbone) -> None:
    limit = threshold(0.5, None, labels=2)
    views = OpenSetViews(tiny_clip, thresholds=(limit,))
    features = tiny_clip.encode_text(LABELS)
    assert views.of(LABELS, features, features, ("{}",), tuned=True).threshold == pytest.approx(
        1 / 3
    )  # 1 : 1 is 1 : 2 of three


def test_nearest_are_under_the_vocabularys_own_templates(tmp_path: Path, tiny_clip: Backbone) -> None:
    features = tiny_clip.encode_images(images())
    words = (*(word for word in WORDS if word != "Red Umbrella"), *LABELS)
    for templates in (("a photo of a {}.",), (TEMPLATE,)):
        index = VocabularyIndex.build(tiny_clip, collect("x", WORDS), templates)
        cosines = features @ tiny_clip.encode_text([templates[0].format(word) for word in words]).T
        for artifact in (None, artifact_with(tmp_path / templates[0][2:4], tiny_clip, ())):
            classifier = Classifier(tiny_clip, artifact, index)
            for answer, row in zip(answers(classifier, classifier.label_set(LABELS)), cosines, strict=True):
                expected = row.topk(NEAREST)
                assert [n.label for n in answer.nearest] == [words[i] for i in expected.indices]
                assert [n.similarity for n in answer.nearest] == pytest.approx(expected.values.tolist(), abs=1e-5)
                assert [n.source == "labels" for n in answer.nearest] == [n.label in LABELS for n in answer.nearest]


def test_labels_under_several_templates_are_averaged_as_words_are(tiny_clip: Backbone) -> None:
    templates = ("a photo of a {}.", "a drawing of the {}", "{}")
    index = VocabularyIndex.build(tiny_clip, collect("x", WORDS), templates)
    classifier = Classifier(tiny_clip, index=index)
    view = classifier.open_set_view(classifier.label_set(WORDS))
    assert view.placed is not None
    features = torch.from_numpy(index.store.vectors(np.array([3])))  # "dog"; one feature, so that both answer alike
    mean = view.placed.nearest(features, 1)[0][0]
    assert (mean.label, mean.source) == ("dog", "labels")
    assert mean.similarity == pytest.approx(1, abs=1e-5)


def test_open_set_answers_can_be_left_out(tiny_clip: Backbone, index: VocabularyIndex) -> None:
    classifier = Classifier(tiny_clip, index=index)
    label_set = classifier.label_set(LABELS)
    assert [p.open_set for p in classifier.classify(classifier.backbone.encode_images(images()), label_set)] == [None] * 3


def test_a_label_that_fits_the_prompt_but_not_the_vocabularys_template(tiny_clip: Backbone) -> None:
    wordy = "x " * (tiny_clip.context_length - 8) + "{}"
    classifier = Classifier(tiny_clip, index=VocabularyIndex.build(tiny_clip, collect("x", ["cat", "dog"]), wordy))
    label_set = classifier.label_set(["cat", "a rather long name of a dog"])
    assert len(classifier.classify(classifier.backbone.encode_images(images()), label_set)) == 3
    with pytest.raises(InvalidInput, match="room for 75 tokens"):
        classifier.open_set_view(label_set)


def test_lookup(tiny_clip: Backbone, index: VocabularyIndex) -> None:
    found = Classifier(tiny_clip, index=index).lookup(tiny_clip.encode_images(images()), 4)
    assert found == index.search(tiny_clip.encode_images(images()), 4)
    with pytest.raises(InvalidInput, match="no vocabulary"):
        Classifier(tiny_clip).lookup(tiny_clip.encode_images(images()), 4)
