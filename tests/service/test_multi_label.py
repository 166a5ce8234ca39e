"""Labels by themselves: against the vocabulary and nothing else, and useful on pictures of the glyph world."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from glyph_world.colours import COLOURS
from glyph_world.pictograms import PICTOGRAMS
from glyph_world.render import Scene, render
from service.classifier import Classifier
from service.multi_label import MOST_WORDS, NEAR, SAME, Background
from vocab_index.index import VocabularyIndex
from vocab_index.sources.words import collect

TEMPLATE = "a picture of a {}."
LABELS = ("red umbrella", "blue anchor", "green snowman", "brown coffin", "silver scissors", "yellow sun")


def words(number: int) -> list[str]:
    """Evenly spread over all colours and pictograms."""
    pairs = [f"{colour} {pictogram}" for pictogram in PICTOGRAMS for colour in COLOURS]
    return pairs[:: len(pairs) // number][:number]


@pytest.fixture(scope="module")
def index(glyph_clip: Backbone) -> VocabularyIndex:
    return VocabularyIndex.build(glyph_clip, collect("x", words(400)), TEMPLATE)


@pytest.fixture(scope="module")
def classifier(glyph_clip: Backbone, index: VocabularyIndex) -> Classifier:
    return Classifier(glyph_clip, index=index, template=TEMPLATE)


def images(clip: Backbone, *labels: str) -> torch.Tensor:
    scenes = [Scene(label.split(" ", 1)[1], label.split(" ", 1)[0], "drawing", seed) for seed, label in enumerate(labels)]
    return clip.encode_images([render(scene) for scene in scenes])


def test_a_score_is_the_formula_by_hand(glyph_clip: Backbone, classifier: Classifier, index: VocabularyIndex) -> None:
    features = images(glyph_clip, "red umbrella", "white atom")
    label_set = classifier.label_set(LABELS)
    scores = classifier.multi_label_view(label_set).scores(features)
    text = label_set.text_features.double().numpy()
    background = index.store.vectors(np.arange(len(index))).astype(np.float64)
    cosines = text @ background.T
    for b, image in enumerate(features.double().numpy()):
        for c in range(len(LABELS)):
            nearest = set(np.argsort(-cosines[c])[: int(NEAR * len(index))])
            rivals = [m for m in range(len(index)) if m not in nearest and cosines[c, m] < SAME]
            scale = glyph_clip.logit_scale
            against = sum(math.exp(scale * background[m] @ image) for m in rivals) / len(rivals)
            odds = math.exp(scale * text[c] @ image) / (300 * against)
            assert scores[b, c].item() == pytest.approx(odds / (1 + odds), rel=1e-3)


def test_adding_a_label_never_changes_another_score(glyph_clip: Backbone, classifier: Classifier) -> None:
    features = images(glyph_clip, "red umbrella", "blue anchor", "white atom")
    few = classifier.multi_label_view(classifier.label_set(LABELS[:2])).scores(features)
    more = classifier.multi_label_view(classifier.label_set((*LABELS, "crimson umbrella", "x"))).scores(features)
    torch.testing.assert_close(more[:, :2], few, rtol=1e-4, atol=1e-6)


def test_pictures_show_what_they_show_and_little_else(glyph_clip: Backbone, classifier: Classifier) -> None:
    shown = LABELS * 5
    unknown = ("white atom", "purple gear", "orange house", "black flag", "pink urn") * 6
    label_set, features = classifier.label_set(LABELS), images(glyph_clip, *shown, *unknown)
    accepted = classifier.multi_label_view(label_set).scores(features) >= 0.5
    truth = torch.cat([torch.eye(len(LABELS)).repeat(5, 1), torch.zeros(len(unknown), len(LABELS))]).bool()
    right = int((accepted & truth).sum())
    assert 2 * right / int(accepted.sum() + truth.sum()) > 0.8  # F1
    forced = classifier.classify(features[len(shown) :], label_set)
    assert int(accepted[len(shown) :].sum()) < 0.2 * sum(prediction.confidence >= 0.5 for prediction in forced)


def test_a_background_is_spread_over_the_vocabulary_and_bounded(tiny_clip: Backbone) -> None:
    names = [f"word {i}" for i in range(2 * MOST_WORDS + 1)]
    index = VocabularyIndex.build(tiny_clip, collect("x", names))
    label_set = Classifier(tiny_clip).label_set(["cat"])
    view = Background(index, 1.0, tiny_clip.device).view(label_set, lambda images: images)
    rows = np.arange(MOST_WORDS) * (2 * MOST_WORDS + 1) // MOST_WORDS
    assert torch.equal(view.background, torch.from_numpy(index.store.vectors(rows)))
    assert np.unique(rows).size == MOST_WORDS


def test_a_view_counts_the_label_set_that_it_keeps(glyph_clip: Backbone, classifier: Classifier) -> None:
    view = classifier.multi_label_view(classifier.label_set(LABELS, ("a {}.", "the {}")))
    features = 2 * 4 * len(LABELS) * glyph_clip.embed_dim  # under the caller's templates, and the hand-written one
    assert view.nbytes == features + len(LABELS) * len(view.background)


def test_there_is_always_a_rival(glyph_clip: Backbone) -> None:
    index = VocabularyIndex.build(glyph_clip, collect("x", ["red umbrella", "crimson umbrella"]), TEMPLATE)
    classifier = Classifier(glyph_clip, index=index, template=TEMPLATE)
    rivals = classifier.multi_label_view(classifier.label_set(["red umbrella", "blue anchor"])).rivals
    assert rivals[0].tolist() == [False, True]
    assert rivals[1].any()


def test_without_a_vocabulary(glyph_clip: Backbone) -> None:
    classifier = Classifier(glyph_clip)
    with pytest.raises(InvalidInput, match="vocabulary"):
        classifier.multi_label_view(classifier.label_set(LABELS))
