"""Both ways of each part compute the same at small sizes, and the bench notices where they do not."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from typer.testing import CliRunner

from candor.clip.backbone import Backbone
from cli.main import app
from vocab_index.bench import concurrency, encoding, mining, open_set, report, searching, storage, timing
from vocab_index.bench.figures import Figure, parity
from vocab_index.bench.report import QUICK, Setting, VocabFigures, bench_vocab, count_parts
from vocab_index.bench.vectors import LABELS, QUERIES, VECTORS, make_index, write_vectors
from vocab_index.negatives import NegMining
from vocab_index.store.faiss_store import VectorStore


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    write_vectors(folder, size=3000, dimension=64, queries=40, labels=20)
    VectorStore.of(np.load(folder / VECTORS), "flat").save(folder / "flat.faiss")
    return folder


@pytest.fixture
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [("dog", {"category": "animal"}), ("tree", {"category": "plant"})]
    monkeypatch.setattr("vocab_index.sources.wordnet.entries", lambda: known)
    monkeypatch.setattr(timing, "TURN", 0)


def met(figures: tuple[Figure, ...]) -> dict[str, bool]:
    return {figure.name: bool(figure.met) for figure in figures if figure.parity}


def test_times_and_targets_by_hand() -> None:
    figure = Figure("s", "n", 0.5, baseline=2.0, least_times=4, most=0.5)
    assert figure.times == 4
    assert figure.met is True
    assert replace(figure, least_times=4.1).met is False
    assert replace(figure, most=0.4).met is False
    assert replace(figure, value=0.5, least=0.6).met is False
    assert Figure("s", "n", 0.5).met is None
    assert Figure("s", "n", 0.5).times is None
    assert parity("s", "n", math.nan, 1e-4).met is False
    assert figure.document()["times"] == 4


def test_the_fastest_of_interleaved_turns_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "TURN", 0)
    taken = iter([3.0, 5.0, 2.0, 7.0])
    monkeypatch.setattr(timing, "seconds", lambda call: (call(), next(taken))[1])
    called: list[str] = []
    found = timing.fastest({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, repeats=2)
    assert called == ["a", "b", "a", "b"]
    assert found == {"a": 2.0, "b": 5.0}


def test_long_calls_have_fewer_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "seconds", lambda call: call())
    called: list[str] = []
    calls = {"long": lambda: (called.append("long"), 12.0)[1], "short": lambda: (called.append("short"), 0.3)[1]}
    assert timing.fastest(calls, repeats=4) == {"long": 12.0, "short": 0.3}
    assert called.count("long") == 2
    assert called.count("short") == 4


def test_short_calls_run_until_their_turn_ends() -> None:
    called: list[int] = []
    timing.fastest({"short": lambda: called.append(1)}, repeats=1)
    assert len(called) > 10


def test_alone_is_another_process() -> None:
    assert timing.alone(os.getpid) != os.getpid()


def test_vectors_are_spread_as_the_module_says(folder: Path, tmp_path: Path) -> None:
    write_vectors(tmp_path, size=3000, dimension=64, queries=40, labels=20)
    arrays = {name: np.load(folder / name) for name in (VECTORS, QUERIES, LABELS)}
    for name, array in arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(array.astype(np.float64), axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(array, np.load(tmp_path / name))
    words, images = arrays[VECTORS].astype(np.float64), arrays[QUERIES].astype(np.float64)
    among = (words @ words.T)[np.triu_indices(len(words), 1)]
    assert among.mean() == pytest.approx(0.6, abs=0.06)
    assert np.quantile(among, 0.999) > 0.75  # clusters
    across = images @ words.T
    assert across.mean() == pytest.approx(0.19, abs=0.1)  # the gap
    assert (images @ images.T)[np.triu_indices(len(images), 1)].mean() == pytest.approx(0.56, abs=0.05)
    assert (across.max(axis=1) - across.mean(axis=1)).min() > 0.05  # an image has near words all the same


def test_an_index_has_as_many_words_as_vectors(few_words: None) -> None:
    store = VectorStore.of(np.eye(5, dtype=np.float32), "flat")
    index = make_index(store)
    assert index.words == ("dog", "tree", "dog 2", "tree 2", "dog 3")
    assert index.metadata(3) == {"category": "plant"}


def test_own_tokens_by_hand(tiny_clip: Backbone) -> None:
    tokens = tiny_clip.tokenize(["a photo of a cat.", "a photo of a black cat."])
    assert encoding.mean_own_tokens(tiny_clip, tokens) == 3.5  # cat . end; black cat . end


def test_encoding_figures_by_hand() -> None:
    figures = encoding.figures(ours=2.0, naive=30.0, own=5.5, difference=2e-5, shape=(100, 77))
    against, own, allowed, share, equal = figures
    assert against.times == 15
    assert own.value == 5.5
    assert allowed.value == 14
    assert share.value == pytest.approx(15 / 14)
    assert share.met is True
    assert equal.met is True
    slow = encoding.figures(ours=4.0, naive=30.0, own=5.5, difference=2e-4, shape=(100, 77))
    assert [figure.met for figure in slow] == [None, None, None, False, False]


def test_both_encoders_agree(tiny_clip: Backbone) -> None:
    figures = encoding.bench_encoding(lambda: tiny_clip, words=12, repeats=1)
    assert met(figures) == {"features differ by": True}
    assert figures[0].section == "encode, 12 nouns"


def test_pairwise_means_are_the_definition() -> None:
    generator = np.random.default_rng(0)
    vectors, labels = (generator.normal(size=(n, 6)) for n in (30, 4))
    vectors, labels = ((a / np.linalg.norm(a, axis=1, keepdims=True)).astype(np.float32) for a in (vectors, labels))
    expected = (1 - cdist(vectors.astype(np.float64), labels.astype(np.float64), "cosine")).mean(axis=1)
    np.testing.assert_allclose(mining.pairwise(vectors, labels), expected, atol=1e-6)
    np.testing.assert_allclose(mining.class_by_class(vectors, labels), expected, atol=1e-6)
    assert mining.top(expected, 5).tolist() == np.argsort(-expected)[:5].tolist()
    assert mining.top(np.array([0.1, 0.3, 0.2]), 9).tolist() == [1, 2, 0]


def test_mining_selects_the_same_and_the_bench_notices_otherwise(folder: Path, tmp_path: Path, few_words: None) -> None:
    name = "words that pairwise mining in float64 selects otherwise"
    assert met(mining.bench_mining(folder, folder / "flat.faiss", k=50, repeats=1)) == {name: True}
    VectorStore.of(np.roll(np.load(folder / VECTORS), 1, axis=0), "flat").save(tmp_path / "wrong.faiss")
    assert met(mining.bench_mining(folder, tmp_path / "wrong.faiss", k=50, repeats=1)) == {name: False}


def test_search_figures_by_hand() -> None:
    seconds = {"flat": 1.0, "fp16": 2.0, "ivf": 0.2, "product": 0.8, "top": 4.0}
    million = searching.figures("s", 32, seconds, 1_000_000)
    assert [(f.name, f.times, f.met) for f in million] == [
        ("flat, batch 32, against numpy's product", 0.8, False),
        ("flat, batch 32, against numpy's product + argpartition", 4.0, None),
        ("fp16, batch 32, against flat", 0.5, None),
        ("ivf, batch 32, against flat", 5.0, True),
    ]
    assert searching.figures("s", 1, seconds, 118_000)[3].met is None
    assert searching.figures("s", 1, seconds | {"product": 1 / 1.2}, 118_000)[0].met is True


def test_every_kind_of_store_agrees_with_numpy(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "TURN", 0)
    stores = {kind: tmp_path / kind for kind in report.KINDS}
    for kind, path in stores.items():
        VectorStore.of(np.load(folder / VECTORS), kind).save(path)
    figures = searching.bench_searching(folder, stores, (1, 8), repeats=1)
    assert met(figures) == {f"{kind}, similarities differ by": True for kind in report.KINDS}
    recall = {figure.name: figure.value for figure in figures if "recall" in figure.name}
    assert recall["flat, recall@10 against numpy"] == 1
    assert len(figures) == 2 * 3 + 2 * 4


def test_wrong_answers_are_noticed() -> None:
    generator = np.random.default_rng(0)
    vectors, queries = (generator.normal(size=(n, 8)).astype(np.float32) for n in (50, 3))
    products = queries @ vectors.T
    ids = np.argsort(-products, axis=1)[:, :10]
    similarity = np.take_along_axis(products, ids, axis=1)
    nearest = searching.exact(vectors, queries)
    np.testing.assert_array_equal(nearest[1], ids)
    recall, equal = searching.agreement("s", "flat", (similarity, ids), nearest, vectors, queries)
    assert recall.value == 1
    assert equal.met is True
    others = ids.copy()
    others[0, :5] = np.argsort(products[0])[:5]
    recall, equal = searching.agreement(
        "s", "flat", (np.take_along_axis(products, others, axis=1), others), nearest, vectors, queries
    )
    assert recall.value == pytest.approx(1 - 5 / 30)
    assert equal.met is False
    recall, equal = searching.agreement(
        "s", "ivf", (np.take_along_axis(products, others, axis=1), others), nearest, vectors, queries
    )
    assert recall.met is False
    assert equal.met is True  # other words, but their similarities are right
    _, equal = searching.agreement("s", "ivf", (similarity + np.float32(0.01), ids), nearest, vectors, queries)
    assert equal.met is False


def test_numpy_search_finds_the_nearest() -> None:
    vectors = np.arange(40, dtype=np.float32)[:, None]
    (found,) = searching.numpy_search(vectors, np.ones((1, 1), np.float32))
    assert sorted(found.tolist()) == list(range(30, 40))


def test_open_set_agrees_with_its_definition(folder: Path, few_words: None) -> None:
    figures = open_set.bench_open_set(folder, folder / "flat.faiss", repeats=1)
    assert met(figures) == {"rank of the negatives differs by": True, "scores differ by": True}
    assert figures[0].section == "NegLabel, 20 labels, 3,000 words, 450 negatives"


def test_neglabel_by_hand() -> None:
    image, label = np.array([[1.0, 0.0]]), np.array([[0.02, 0.0]])  # z = 2
    negatives = np.array([[0.01, 0.0], [0.03, 0.0], [0.02, 0.5]])  # z = 1, 3; the third is left over
    expected = (1 / (1 + math.exp(-1)) + 1 / (1 + math.exp(1))) / 2
    assert open_set.numpy_score(image, label, negatives[:2], groups=2) == pytest.approx(expected)
    pair = math.exp(2) / (math.exp(2) + math.exp(1) + math.exp(3))
    assert open_set.numpy_score(image, label, negatives[:2], groups=1) == pytest.approx(pair)
    assert open_set.numpy_score(image, label, negatives, groups=2) == pytest.approx(expected)


def test_a_negative_that_is_too_near_is_noticed() -> None:
    labels = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    angles = np.linspace(1.6, 3.1, 20)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    rules = NegMining(quantile=0.5)  # mean of both cosines: falls along the rows
    ranks = open_set.quantiles(vectors, labels, rules)
    np.testing.assert_allclose(
        ranks[vectors.max(axis=1) <= 0.95], vectors.mean(axis=1)[vectors.max(axis=1) <= 0.95], atol=1e-6
    )
    np.testing.assert_array_equal(ranks > 1, vectors.max(axis=1) > 0.95)
    right = open_set.lowest(ranks, 4)
    assert sorted(right.tolist()) == [16, 17, 18, 19]
    assert open_set.misplaced(vectors, labels, right, rules) == 0
    wrong = np.array([15, 17, 18, 19])
    gap = float(ranks[15] - ranks[16])
    assert open_set.misplaced(vectors, labels, wrong, rules) == pytest.approx(gap, abs=1e-6)
    assert gap > 0.01


def test_threads_agree_and_leave_torch_alone(folder: Path, few_words: None) -> None:
    figures = concurrency.bench_concurrency(folder, "flat", folder / "flat.faiss", repeats=1)
    assert met(figures) == {"answers that differ": True, "torch's threads more or less than before": True}


def test_answers_that_differ_are_counted() -> None:
    one = (np.array([[0.5]], np.float32), np.array([[7]]))
    nearly = (np.array([[0.5 + 1e-7]], np.float32), np.array([[7]]))
    other_word, other_value = (one[0], np.array([[8]])), (np.array([[0.6]], np.float32), one[1])
    assert concurrency.different([one] * 4, [one, nearly, other_word, other_value]) == 2


def test_a_call_that_waits_takes_no_processor() -> None:
    assert concurrency.cores([lambda: time.sleep(0.05)]) < 0.5
    assert concurrency.idle_cores([lambda: None] * 3) < 0.5


def test_a_directory_is_saved_and_loaded(folder: Path, tmp_path: Path, few_words: None) -> None:
    save, size = storage.save_directory(folder / "flat.faiss", tmp_path / "index")
    load, hashing, memory, metadata = storage.load_directory(tmp_path / "index")
    assert size == 3000
    assert min(save, load, hashing, metadata) > 0
    assert memory < 1e9


@pytest.fixture
def figures() -> VocabFigures:
    fast = Figure("search", "flat, batch 1", 0.0125, baseline=0.025, least_times=1.5)
    late = Figure("store", "load", 1.5, most=1.0)
    size = Figure("store", "file", 2e6, "bytes", baseline=4e6)
    return VocabFigures(QUICK, (fast, late, size, parity("search", "similarities differ by", 1e-7, 1e-5)))


def test_missed_targets_are_no_failure_and_other_results_are(
    figures: VocabFigures, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert figures.equal
    assert [figure.name for figure in figures.missed] == ["load"]
    monkeypatch.setattr("cli.bench.vocab.bench_vocab", lambda *_: figures)
    shown = CliRunner().invoke(app, ["bench", "vocab"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for text in ("12.5 ms", "25 ms", "2.00x", ">= 1.5x", "1.50 s", "<= 1.00 s", "MISS", "2.0 MB", "2 of 3 targets"):
        assert text in shown.output
    wrong = replace(figures, figures=(*figures.figures, parity("mining", "other words", 3, 0)))
    monkeypatch.setattr("cli.bench.vocab.bench_vocab", lambda *_: wrong)
    failed = CliRunner().invoke(app, ["bench", "vocab", "--json"])
    assert failed.exit_code == 1
    assert "mining: other words" in failed.stderr
    document = json.loads(failed.stdout)
    assert document["equal"] is False
    assert document["missed"] == 2
    assert document["figures"][0]["times"] == 2


def test_sizes_are_read_and_refused(figures: VocabFigures, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Setting] = []
    monkeypatch.setattr("cli.bench.vocab.bench_vocab", lambda setting, *_: (asked.append(setting), figures)[1])
    for sizes in (["118k", "1M"], ["118000"]):
        options = [option for size in sizes for option in ("--size", size)]
        assert CliRunner().invoke(app, ["bench", "vocab", *options]).exit_code == 0
    assert [setting.sizes for setting in asked] == [(118_000, 1_000_000), (118_000,)]
    for size in ("big", "0", "-5", "1e6", "999", "1G", "999999999M", "1.5M", ""):
        refused = CliRunner().invoke(app, ["bench", "vocab", f"--size={size}"])
        assert refused.exit_code == 2, size
        assert "1k to 100M" in refused.stderr


def test_the_whole_bench_at_a_small_size(monkeypatch: pytest.MonkeyPatch, tiny_clip: Backbone, few_words: None) -> None:
    def here(function: Any, *args: Any) -> Any:
        return function(*args)

    monkeypatch.setattr(report, "alone", here)
    monkeypatch.setattr(storage, "alone", here)
    setting = replace(QUICK, sizes=(2000, 1500))
    done: list[str] = []
    figures = bench_vocab(setting, lambda: tiny_clip, done.append)
    assert figures.equal, figures.missed
    assert len(done) == count_parts(setting)
    document = json.loads(json.dumps(figures.document()))
    assert document["setting"]["sizes"] == [2000, 1500]
    sections = {figure["section"].split(",")[0] for figure in document["figures"]}
    assert sections == {"encode", "store", "search", "index directory", "mining 100 of 2", "NegLabel", "concurrency"}
    assert all(math.isfinite(figure["value"]) for figure in document["figures"])


@pytest.mark.slow
def test_the_quick_bench_runs_in_processes_of_its_own() -> None:
    result = CliRunner().invoke(app, ["bench", "vocab", "--quick", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["equal"] is True
    assert torch.get_num_threads() >= 1
