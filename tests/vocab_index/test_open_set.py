"""Negatives are mined as the definition says, and scores are those of the formulas, cached and under many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

import vocab_index.open_set as room
from candor.calibration.open_set import OpenSetThreshold, mcm, neglabel
from candor.clip.artifact import BackboneRef
from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from glyph_world import TEMPLATE
from glyph_world.tasks import TASKS
from glyph_world.vocabulary import phrases
from vocab_index import negatives
from vocab_index.index import VocabularyIndex
from vocab_index.negatives import NegMining, mine, nearness
from vocab_index.open_set import OpenSet
from vocab_index.sources.overlap import OverlapFilter
from vocab_index.sources.words import collect
from vocab_index.store.faiss_store import VectorStore

WIDTH = 24


def unit(count: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)), dim=-1)


WORDS = unit(500, 0)
STORE = VectorStore.of(WORDS.numpy())


def an_index(store: VectorStore = STORE) -> VocabularyIndex:
    reference = BackboneRef(model="m", pretrained="p", sha256="0" * 64)
    return VocabularyIndex([f"word {i}" for i in range(len(store))], store, reference, ("a {}.",), "test")


def definition(words: Tensor, labels: Tensor, mining: NegMining) -> tuple[NDArray[np.float64], list[int]]:
    cosines = words.double().numpy() @ labels.double().numpy().T
    r = np.quantile(cosines, mining.quantile, axis=1)
    r[cosines.max(axis=1) > mining.near] += 2
    count = max(1, min(mining.most, int(mining.share * len(words))))
    return r, np.argsort(r, kind="stable")[:count].tolist()


@pytest.mark.parametrize("labels", [1, 2, 3, 20, 21, 22, 100, 300])
@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.95, 1.0])
def test_negatives_are_the_lowest_quantiles(labels: int, quantile: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "COSINES_AT_ONCE", 1000)  # several blocks
    monkeypatch.setattr(negatives, "FEWEST_ROWS", 64)
    mining = NegMining(quantile=quantile)
    r, rows = definition(WORDS, unit(labels, 1), mining)
    np.testing.assert_allclose(nearness(STORE, unit(labels, 1), mining), r, atol=3e-7)
    assert mine(STORE, unit(labels, 1), mining).tolist() == rows


@pytest.mark.parametrize(
    ("share", "most", "count"), [(0.15, 20_000, 75), (0.15, 7, 7), (0.001, 20_000, 1), (1.0, 10**6, 500)]
)
def test_how_many(share: float, most: int, count: int) -> None:
    mining = NegMining(share=share, most=most)
    assert mine(STORE, unit(10, 1), mining).tolist() == definition(WORDS, unit(10, 1), mining)[1]
    assert len(mine(STORE, unit(10, 1), mining)) == count


def test_equal_words_keep_their_order() -> None:
    words = unit(4, 2).repeat(5, 1)
    rows = mine(VectorStore.of(words.numpy()), unit(3, 3), NegMining(share=0.4))
    assert rows.tolist() == definition(words, unit(3, 3), NegMining(share=0.4))[1]
    assert (np.diff(rows[:5]) == 4).all()


def test_a_label_that_is_far_from_its_fellows_is_not_its_own_negative() -> None:
    fellows, lonely = F.normalize(unit(1, 4) + 0.3 * unit(99, 5), dim=-1), F.normalize(-unit(1, 4), dim=-1)
    labels = torch.cat([fellows, lonely])
    store = VectorStore.of(torch.cat([WORDS, lonely]).numpy())
    assert 500 in mine(store, labels, NegMining(near=2.0))
    assert 500 not in mine(store, labels, NegMining())


def test_hardly_a_negative_of_a_glyph_task_contains_one_of_its_labels(glyph_clip: Backbone) -> None:
    words = collect("glyphs", phrases()[::3] + [label for task in TASKS.values() for label in task.labels])
    index = VocabularyIndex.build(glyph_clip, words, TEMPLATE)
    for task in TASKS.values():
        features = glyph_clip.encode_text([TEMPLATE.format(label) for label in task.labels])
        mined = [index.words[row] for row in mine(index.store, features, NegMining())]
        assert len(mined) == len(index) * 15 // 100
        overlap = OverlapFilter(list(task.labels))
        assert sum(map(overlap.overlaps, mined)) <= 0.05 * len(mined)  # such as 'green yin yang' of 'yin yang'
        assert not set(mined) & set(task.labels)


def test_scores_are_the_formulas() -> None:
    labels, tuned, images = unit(12, 1), unit(12, 6), unit(150, 7)  # more than are scored at once
    plain = OpenSet(30.0)
    assert (plain.method, plain.vocabulary) == ("mcm", None)
    torch.testing.assert_close(plain.for_labels(tuned, labels).score(images), mcm(images @ tuned.T))
    open_set = OpenSet(30.0, an_index(), NegMining(groups=10))
    rows = np.random.default_rng(0).permutation(definition(WORDS, labels, NegMining())[1])
    expected = neglabel(30 * (images @ tuned.T).double(), 30 * (images @ WORDS[rows].T).double(), 10)
    scores = open_set.for_labels(tuned, labels).score(images)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), expected, atol=1e-5, rtol=1e-5)
    assert open_set.for_labels(tuned, labels).score(images[:0]).shape == (0,)


def test_a_label_set_is_mined_once_and_again_when_it_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    mined: list[int] = []

    def count(*arguments: object) -> NDArray[np.int64]:
        mined.append(1)
        return mine(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "mine", count)
    one = 75 * WIDTH * 4
    open_set = OpenSet(30.0, an_index(), cache_bytes=2 * one)
    first = open_set.for_labels(unit(5, 1), unit(5, 1))
    score = first.score(unit(3, 8))
    open_set.for_labels(unit(5, 9), unit(5, 1))  # other prompts, the same zero-shot features
    assert (len(mined), open_set.kept_bytes) == (1, one)
    for seed in (2, 3, 4):
        open_set.for_labels(unit(5, seed), unit(5, seed))
    assert (len(mined), open_set.kept_bytes) == (4, 2 * one)
    assert torch.equal(first.score(unit(3, 8)), score)
    assert len(mined) == 5


def test_many_threads_get_the_same_scores() -> None:
    open_set = OpenSet(30.0, an_index(), cache_bytes=75 * WIDTH * 4)  # room for one set: they push each other out
    expected = {seed: open_set.for_labels(unit(6, seed), unit(6, seed)).score(unit(4, 8)) for seed in range(4)}

    def ask(seed: int) -> bool:
        found = open_set.for_labels(unit(6, seed), unit(6, seed)).score(unit(4, 8))
        return torch.allclose(found, expected[seed], atol=1e-6)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, [i % 4 for i in range(80)]))


def test_labels_that_do_not_fit() -> None:
    open_set = OpenSet(30.0, an_index())
    with pytest.raises(InvalidInput, match="at least one; got \\(0, 24\\) and \\(0, 24\\)"):
        open_set.for_labels(unit(0, 1), unit(0, 1))
    with pytest.raises(InvalidInput, match="got \\(2, 24\\) and \\(3, 24\\)"):
        open_set.for_labels(unit(2, 1), unit(3, 1))
    with pytest.raises(InvalidInput, match="8 wide, the vocabulary's 24"):
        open_set.for_labels(unit(2, 1)[:, :8], unit(2, 1)[:, :8])


def test_the_threshold_of_another_vocabulary_is_none() -> None:
    fitted = {"threshold": 0.5, "true_positive_rate": 0.95, "images": 9, "labels": 4}
    index = an_index()
    thresholds = (
        OpenSetThreshold(score="mcm", **fitted),
        OpenSetThreshold(score="neglabel", vocabulary="f" * 64, **fitted),
        OpenSetThreshold(score="neglabel", vocabulary=index.digest, **fitted),
    )
    assert OpenSet(1.0).threshold(thresholds) is thresholds[0]
    assert OpenSet(1.0, index).threshold(thresholds) is thresholds[2]
    assert OpenSet(1.0, index).threshold(thresholds[:2]) is None
