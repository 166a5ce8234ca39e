"""DOR's candidates for a data set against loops in float64 and lists by hand."""

from __future__ import annotations

import math

import pytest
import torch

from candor.clip.backbone import Backbone
from candor.clip.learners import LearnerConfig
from candor.errors import InvalidInput
from training.config import OutlierConfig, TrainConfig
from training.data import ImageDataset
from training.outliers import find_outliers
from training.run import Features
from vocab_index.index import VocabularyIndex
from vocab_index.outliers import OutlierPool
from vocab_index.sources.words import collect

BASE, NEW = ("red umbrella", "Snow_Leopard", "cherry"), ("tea pot", "owl", "sun")
TEMPLATE = "a {}."
IS_BASE = {  # case; hyphen; plural; underscore; more words around it; both at once
    "Red Umbrella",
    "red-umbrella",
    "red umbrellas",
    "two red umbrellas",  # the vocabulary has it with an underscore
    "SNOW leopard",
    "old snow-leopards",
    "cherries",
    "wild cherry",
}
IS_NEW = {"tea-pot", "tea pots", "night owl", "Owls", "sun"}
IS_NEITHER = {  # a name's word alone, its words apart, or a longer word
    "umbrella",
    "red beach umbrella",
    "leopard",
    "cherrywood",
    "teapot",
    "owlet",
    "sunflower",
    "leopard snow",
    "anchor",
    "old moon",
    "black cat",
    "red",
}


@pytest.fixture(scope="module")
def index(glyph_clip: Backbone) -> VocabularyIndex:
    words = ["two red_umbrellas" if word == "two red umbrellas" else word for word in sorted(IS_BASE | IS_NEW | IS_NEITHER)]
    return VocabularyIndex.build(glyph_clip, collect("made-up", words), TEMPLATE)


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    return ImageDataset("made-up", BASE + NEW, TEMPLATE, (), ())


@pytest.fixture(scope="module")
def features(glyph_clip: Backbone) -> Features:
    return Features({}, {"base": encode(glyph_clip, BASE), "new": encode(glyph_clip, NEW)})


def encode(clip: Backbone, names: tuple[str, ...], template: str = TEMPLATE) -> torch.Tensor:
    return clip.encode_text([template.replace("{}", name.replace("_", " ")) for name in names])


def mean_cosine(clip: Backbone, word: str) -> float:
    """To the base classes, by loops."""
    a = encode(clip, (word,))[0].double().tolist()
    cosines = [math.fsum(x * y for x, y in zip(a, b, strict=True)) for b in encode(clip, BASE).double().tolist()]
    return math.fsum(cosines) / len(cosines)


def found(
    clip: Backbone, index: VocabularyIndex | None, dataset: ImageDataset, features: Features, **settings: object
) -> OutlierPool:
    return find_outliers(clip, index, dataset, features, TrainConfig(seed=4, outliers=OutlierConfig(**settings)))


@pytest.mark.parametrize("exclude_new", [True, False])
@pytest.mark.parametrize("selection", ["near", "far"])
@pytest.mark.parametrize("pool", [1, 5, 99])
def test_ranked_selections_are_the_loops(
    glyph_clip: Backbone,
    index: VocabularyIndex,
    dataset: ImageDataset,
    features: Features,
    selection: str,
    pool: int,
    exclude_new: bool,
) -> None:
    ranked = sorted(index.words, key=lambda word: mean_cosine(glyph_clip, word), reverse=selection == "near")
    out = IS_BASE | IS_NEW if exclude_new else IS_BASE
    kept: list[str] = []
    dropped: list[str] = []
    for word in ranked:
        if len(kept) < pool:
            (dropped if word in out else kept).append(word)
    outliers = found(glyph_clip, index, dataset, features, selection=selection, pool=pool, exclude_new=exclude_new)
    assert outliers.words == tuple(kept)
    assert outliers.dropped == tuple(dropped)
    assert outliers.similarity == pytest.approx([mean_cosine(glyph_clip, word) for word in kept], abs=1e-6)
    torch.testing.assert_close(outliers.features, encode(glyph_clip, tuple(kept)), atol=1e-6, rtol=1e-5)
    if pool == 99:
        assert set(kept) == IS_NEITHER | (set() if exclude_new else IS_NEW)
        assert set(dropped) == out


def test_random_words_are_any_words(
    glyph_clip: Backbone, index: VocabularyIndex, dataset: ImageDataset, features: Features
) -> None:
    draws = [OutlierPool.random(index, features.zero_shot["base"], 5, dataset.classnames, seed) for seed in range(200)]
    assert all(len(set(draw.words)) == 5 for draw in draws)
    counts = {word: sum(word in draw.words for draw in draws) for word in sorted(IS_NEITHER)}
    assert sum(counts.values()) == 1000  # no class name among them
    expected = 200 * 5 / len(IS_NEITHER)
    assert all(abs(count - expected) < 4 * math.sqrt(expected) for count in counts.values()), counts
    outliers = found(glyph_clip, index, dataset, features, selection="random", pool=5)
    assert outliers.words == draws[4].words  # by the run's seed
    torch.testing.assert_close(outliers.features, encode(glyph_clip, outliers.words), atol=1e-6, rtol=1e-5)
    assert outliers.similarity == pytest.approx([mean_cosine(glyph_clip, word) for word in outliers.words], abs=1e-6)
    assert set(outliers.dropped) <= IS_BASE | IS_NEW


def test_oracle_outliers_are_the_new_classes(glyph_clip: Backbone, dataset: ImageDataset, features: Features) -> None:
    outliers = found(glyph_clip, None, dataset, features, selection="oracle", pool=1)
    assert outliers.words == NEW
    assert outliers.dropped == ()
    assert outliers.similarity == pytest.approx([mean_cosine(glyph_clip, word) for word in NEW], abs=1e-6)
    torch.testing.assert_close(outliers.features, features.zero_shot["new"], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("selection", ["near", "oracle"])
def test_a_template_of_its_own_changes_the_features_and_not_the_choice(
    glyph_clip: Backbone, index: VocabularyIndex, dataset: ImageDataset, features: Features, selection: str
) -> None:
    usual = found(glyph_clip, index, dataset, features, selection=selection, pool=5)
    own = found(glyph_clip, index, dataset, features, selection=selection, pool=5, template="the word {}")
    assert (own.words, own.similarity, own.dropped) == (usual.words, usual.similarity, usual.dropped)
    torch.testing.assert_close(own.features, encode(glyph_clip, own.words, "the word {}"), atol=1e-6, rtol=1e-5)
    assert (own.features - usual.features).norm(dim=-1).min() > 0.01


def test_the_data_sets_template_is_the_usual_one(glyph_clip: Backbone, index: VocabularyIndex, features: Features) -> None:
    """An index that was made with another template gives words; their features are under the data set's."""
    other = ImageDataset("made-up", BASE + NEW, "one {} of many.", (), ())
    outliers = found(glyph_clip, index, other, features, pool=5)
    torch.testing.assert_close(
        outliers.features, encode(glyph_clip, outliers.words, "one {} of many."), atol=1e-6, rtol=1e-5
    )


def test_what_cannot_be(
    glyph_clip: Backbone, tiny_clip: Backbone, index: VocabularyIndex, dataset: ImageDataset, features: Features
) -> None:
    with pytest.raises(InvalidInput, match="from a vocabulary, and none was given"):
        found(glyph_clip, None, dataset, features)
    with pytest.raises(InvalidInput, match="made with glyph-clip dc3beec28432, not with this glyph-clip "):
        found(tiny_clip, index, dataset, features)
    with pytest.raises(InvalidInput, match="unknown selection 'best'; valid: near, far, random"):
        OutlierPool.select("best", index, features.zero_shot["base"], 5, ())
    with pytest.raises(InvalidInput, match="no word that does not contain a class name"):
        OutlierPool.near(index, features.zero_shot["base"], 5, [*IS_BASE, *IS_NEW, *IS_NEITHER])


def test_words_that_do_not_fit_beside_the_context_are_dropped(
    glyph_clip: Backbone, index: VocabularyIndex, dataset: ImageDataset, features: Features
) -> None:
    config = TrainConfig(learner=LearnerConfig(n_ctx=72), outliers=OutlierConfig(pool=10_000))
    found = find_outliers(glyph_clip, index, dataset, features, config)
    assert found.words
    assert all(len(glyph_clip.bpe(f"{word}.")) <= 77 - 2 - 72 for word in found.words)
    everything = find_outliers(glyph_clip, index, dataset, features, TrainConfig(outliers=OutlierConfig(pool=10_000)))
    long = {word for word in everything.words if len(glyph_clip.bpe(f"{word}.")) > 3}
    assert long == set(everything.words) - set(found.words) <= set(found.dropped)
    assert len(found.words) == len(found.similarity) == len(found.features)
    with pytest.raises(InvalidInput, match="no outlier fits the text tower beside 75"):
        find_outliers(glyph_clip, index, dataset, features, TrainConfig(learner=LearnerConfig(n_ctx=75)))
