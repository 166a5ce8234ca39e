"""Labels beside a vocabulary, by hand-worked cases in two dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.clip.artifact import BackboneRef
from candor.clip.backbone import Backbone
from glyph_world.colours import COLOURS
from glyph_world.pictograms import PICTOGRAMS
from glyph_world.render import Scene, render
from glyph_world.vocabulary import phrases
from vocab_index.index import VocabularyIndex
from vocab_index.sources.wordnet import synsets
from vocab_index.store.faiss_store import VectorStore
from vocab_index.synonyms import SAME_COSINE, NearLabel, PlacedLabels, SynonymFinder

REF = BackboneRef(model="x", pretrained="y", sha256="0" * 64)


def at(*degrees: float) -> torch.Tensor:
    """Unit vectors at these angles."""
    return torch.tensor([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


def cosine(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def index_of(words: Mapping[str, float], metadata: Sequence[Mapping[str, Any]] = ()) -> VocabularyIndex:
    store = VectorStore.of(at(*words.values()).numpy())
    return VocabularyIndex(tuple(words), store, REF, ("a {}.",), "x", metadata)


def placed(index: VocabularyIndex, labels: Mapping[str, float]) -> PlacedLabels:
    return SynonymFinder(index).place(tuple(labels), at(*labels.values()))


def marks(index: VocabularyIndex, labels: Mapping[str, float]) -> dict[str, str | None]:
    words = index.search(at(0), len(index))[0]
    return dict(zip((w.word for w in words), placed(index, labels).same_as(words), strict=True))


def test_labels_and_words_are_merged_by_cosine() -> None:
    index = index_of({"dog": 10, "Red Cat": 20, "sun": 70, "tree": 85})
    near = placed(index, {"red cat": 20, "moon": 40}).nearest(at(0, 90), 3)
    assert near[0] == [
        NearLabel("dog", pytest.approx(cosine(10), abs=1e-6), "vocabulary"),
        NearLabel("red cat", pytest.approx(cosine(20), abs=1e-6), "labels"),  # once, as the label
        NearLabel("moon", pytest.approx(cosine(40), abs=1e-6), "labels"),
    ]
    assert [n.label for n in near[1]] == ["tree", "sun", "moon"]


def test_fewer_than_asked_for_where_there_are_no_more() -> None:
    near = placed(index_of({"dog": 10, "cat": 20}), {"cat": 20}).nearest(at(0), 5)
    assert [(n.label, n.source) for n in near[0]] == [("dog", "vocabulary"), ("cat", "labels")]


def test_spellings_of_a_label_are_marked() -> None:
    words = ("Red_Umbrellas", "red umbrella", "umbrella", "dark red umbrella", "RED-UMBRELLA", "umbrella red", "anchor")
    found = marks(index_of({word: 10 * i for i, word in enumerate(words)}), {"blue sun": 120, "Red Umbrella": 150})
    assert found == {
        "Red_Umbrellas": "Red Umbrella",
        "red umbrella": "Red Umbrella",
        "RED-UMBRELLA": "Red Umbrella",
        "umbrella": None,
        "dark red umbrella": None,
        "umbrella red": None,
        "anchor": None,
    }


def test_words_of_one_synset_are_marked() -> None:
    metadata = [{"synset": "04256520"}, {"synset": "04256520"}, {"synset": "02084071"}, {}, {"synset": ["odd"]}]
    index = index_of({"sofa": 0, "couch": 30, "dog": 60, "note": 90, "list": 120}, metadata)
    nothing = {"sofa": None, "couch": None, "dog": None, "note": None, "list": None}
    assert marks(index, {"lamp": 170, "Couch": 200}) == nothing | {"sofa": "Couch", "couch": "Couch"}
    assert marks(index, {"list": 170, "note": 200}) == nothing | {"list": "list", "note": "note"}
    assert marks(index, {"armchair": 200}) == nothing  # the vocabulary does not know the label


def test_of_two_labels_in_one_synset_the_first_is_named() -> None:
    metadata = [{"synset": "1"}] * 3
    index = index_of({"sofa": 0, "couch": 30, "lounge": 60}, metadata)
    assert marks(index, {"couch": 170, "sofa": 200}) == {"sofa": "sofa", "couch": "couch", "lounge": "couch"}


def test_a_text_that_the_model_cannot_tell_from_a_label_is_marked() -> None:
    edge = math.degrees(math.acos(SAME_COSINE))
    index = index_of({"inside": edge - 0.05, "outside": edge + 0.05, "between": 90 - edge + 0.05})
    expected = {"inside": "label", "outside": None, "between": "other"}
    assert marks(index, {"label": 0, "other": 90}) == expected


def test_spelling_goes_before_synset_and_synset_before_cosine() -> None:
    index = index_of({"dogs": 0, "hound": 0, "dog": 90}, [{"synset": "1"}, {"synset": "1"}, {"synset": "2"}])
    labels = {"same place": 0, "hound": 60, "dog": 120}
    assert marks(index, labels) == {"dogs": "dog", "hound": "hound", "dog": "dog"}
    assert marks(index, {"same place": 0, "hound": 60})["dogs"] == "hound"
    assert marks(index, {"same place": 0})["dogs"] == "same place"


def test_nothing_asked_is_nothing_found() -> None:
    labels = placed(index_of({"dog": 10}), {"cat": 20})
    assert labels.same_as([]) == []
    assert labels.nearest(at()[:0].reshape(0, 2), 3) == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=25, unique=True),
    st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True),
    st.integers(1, 8),
)
def test_merging_is_a_sort_of_all(words: list[int], labels: list[int], k: int) -> None:
    """A number is a name and stands for its angle, so that equal names have equal features."""
    index = index_of({f"w{n}": 2.0 * n for n in words})
    near = placed(index, {f"W{n}": 2.0 * n for n in labels}).nearest(at(-3), k)[0]
    assert [(n.label.casefold(), n.source) for n in near] == [
        (f"w{n}", "labels" if n in labels else "vocabulary") for n in sorted({*words, *labels})[:k]
    ]
    similarities = [n.similarity for n in near]
    np.testing.assert_allclose(similarities, [cosine(3 + 2 * n) for n in sorted({*words, *labels})[:k]], atol=1e-6)


def test_wordnets_own_synonyms() -> None:
    names = ("sofa", "couch", "lounge", "armchair", "dog", "domestic dog", "poodle", "car", "automobile", "truck")
    known = {noun: synset.metadata for synset in synsets() for noun in synset.nouns if noun in names}
    index = index_of({name: 17 * i for i, name in enumerate(names)}, [known[name] for name in names])
    found = marks(index, {"Dog": 190, "sofas": 200, "couch": 210, "automobile": 220})
    expected = {"dog": "Dog", "domestic dog": "Dog", "sofa": "sofas", "couch": "couch", "lounge": "couch"}
    expected |= {"car": "automobile", "automobile": "automobile"}
    assert found == dict.fromkeys(names) | expected


@pytest.mark.slow
def test_what_the_embedded_model_cannot_tell_apart(glyph_clip: Backbone) -> None:
    """The figures behind SAME_COSINE: how often a drawing of one phrase is nearer to another, by the cosine of the two."""
    rng = np.random.default_rng(0)
    names = phrases()
    text = glyph_clip.encode_text([f"a photo of a {name}." for name in names])
    preferred: dict[str, list[float]] = {"far": [], "near": []}
    neighbours = []
    for _ in range(100):
        sign, colour = str(rng.choice(list(PICTOGRAMS))), str(rng.choice(list(COLOURS)))
        row = names.index(f"{colour} {sign}")
        drawings = [render(Scene(sign, colour, "drawing", int(rng.integers(2**40)))) for _ in range(8)]
        margin = glyph_clip.encode_images(drawings) @ text.T
        others = (margin > margin[:, [row]]).float().mean(dim=0)
        cosines = text @ text[row]
        cosines[row] = -1
        neighbours.append(int((cosines >= 0.95).sum()))
        preferred["far"] += others[(cosines >= 0.95) & (cosines < 0.96)].tolist()
        preferred["near"] += others[cosines >= SAME_COSINE].tolist()
    assert np.mean(preferred["far"]) == pytest.approx(0.15, abs=0.04)
    assert np.mean(preferred["near"]) == pytest.approx(0.40, abs=0.05)  # a coin would be 0.5
    assert len(preferred["near"]) > 50
    assert np.mean(neighbours) > 10  # .95 would call all of them one thing
