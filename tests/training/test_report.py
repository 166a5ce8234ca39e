"""An evaluation on disk: what was written is what is read, to the last bit, and damage is said."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from candor.errors import IntegrityError, InvalidInput
from training.evaluation import ScopeResult, both_scopes
from training.report import (
    EVALUATION,
    PREDICTIONS,
    TABLE,
    EvaluatedRun,
    evaluation_document,
    read_evaluation,
    write_evaluation,
    write_plots,
)


def scored(seed: int, images: int = 50, **figures: float) -> ScopeResult:
    rng = np.random.default_rng(seed)
    confidence = rng.random(images)
    constants = {"fd": 0.1 + seed / 3, "text_deviation": 0.2, "classwise_ece": 0.01, "brier": 0.4, "nll": 1 / 3, **figures}
    return ScopeResult(confidence, rng.random(images) < confidence, n_labels=7, **constants)


RUNS = [
    EvaluatedRun("zero-shot", "a", "zero-shot", None, {"base": scored(1), "new": scored(2, 30)}),
    EvaluatedRun("dor", "a", "coop+dor", 3, {"base": scored(3, piece=0.07), "new": scored(4)}, "coop+dor-0123"),
    EvaluatedRun("dor", "b", "coop+dor", 3, {"new": scored(5, 1)}, "coop+dor-0123"),
]


def test_figures_follow_from_the_files_exactly(tmp_path: Path) -> None:
    write_evaluation(tmp_path, RUNS, 10, ["one.png: broken"])
    again, skipped = read_evaluation(tmp_path)
    assert skipped == ("one.png: broken",)
    for before, after in zip(RUNS, again, strict=True):
        assert (after.name, after.dataset, after.method, after.seed, after.artifact) == (
            before.name,
            before.dataset,
            before.method,
            before.seed,
            before.artifact,
        )
        for n_bins in (10, 15, 20):
            assert repr(both_scopes(after.scopes, n_bins)) == repr(both_scopes(before.scopes, n_bins))  # repr: NaN too
    write_evaluation(tmp_path, again, 10, skipped)
    first = json.loads((tmp_path / EVALUATION).read_text())
    assert first["runs"] == evaluation_document(RUNS)["runs"]


def test_the_document_is_plain_json_in_fractions() -> None:
    document = json.loads(json.dumps(evaluation_document(RUNS, 15), allow_nan=False))
    assert (document["schema_version"], document["n_bins"]) == (1, 15)
    zero_shot, dor, alone = document["runs"]
    assert zero_shot["scopes"]["base"]["figures"]["piece"] is None
    assert zero_shot["scopes"]["new"]["images"] == 30
    assert dor["scopes"]["base"]["labels"] == 7
    base, new = (dor["scopes"][scope]["figures"] for scope in ("base", "new"))
    assert base["ece"] == RUNS[1].scopes["base"].figures(15)["ece"]
    assert dor["mean"]["accuracy"] == pytest.approx((base["accuracy"] + new["accuracy"]) / 2)
    assert dor["harmonic_mean"]["accuracy"] == pytest.approx(2 / (1 / base["accuracy"] + 1 / new["accuracy"]))
    assert alone["mean"] is None
    assert list(alone["scopes"]) == ["new"]
    assert set(document["units"]) == set(base)


def test_the_table_has_a_row_a_scope_with_units_in_its_head(tmp_path: Path) -> None:
    write_evaluation(tmp_path, RUNS)
    with (tmp_path / TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["dataset"], row["scope"]) for row in rows] == [
        *(("zero-shot", "a", scope) for scope in ("base", "new", "mean", "harmonic_mean")),
        *(("dor", "a", scope) for scope in ("base", "new", "mean", "harmonic_mean")),
        ("dor", "b", "new"),
    ]
    assert float(rows[5]["ece [fraction]"]) == RUNS[1].scopes["new"].figures()["ece"]
    assert float(rows[5]["nll [nats]"]) == 1 / 3
    assert rows[5]["images"] == "50"
    assert rows[6]["images"] == ""
    assert rows[0]["piece [fraction]"] == ""
    assert rows[0]["seed"] == ""
    assert all("[" in head for head in list(rows[0])[7:])


def test_predictions_need_no_pickle(tmp_path: Path) -> None:
    write_evaluation(tmp_path, RUNS)
    with np.load(tmp_path / PREDICTIONS, allow_pickle=False) as stored:
        assert {name: stored[name].dtype.str for name in stored} == {
            "run": "<i4",
            "scope": "|i1",
            "confidence": "<f8",
            "correct": "|b1",
        }
        assert np.bincount(stored["run"]).tolist() == [80, 100, 1]
        assert np.array_equal(stored["confidence"][:50], RUNS[0].scopes["base"].confidence)


def test_the_same_run_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="the same run twice"):
        write_evaluation(tmp_path, [RUNS[0], RUNS[0]])
    assert list(tmp_path.iterdir()) == []


def damaged(directory: Path, what: str) -> None:
    evaluation, predictions = directory / EVALUATION, directory / PREDICTIONS
    document = json.loads(evaluation.read_text())
    if what == "gone":
        predictions.unlink()
    elif what == "cut":
        predictions.write_bytes(predictions.read_bytes()[:-40])
    elif what == "not json":
        evaluation.write_text("{")
    elif what == "schema":
        evaluation.write_text(json.dumps(document | {"schema_version": 2}))
    elif what == "figure":
        del document["runs"][0]["scopes"]["base"]["figures"]["nll"]
        evaluation.write_text(json.dumps(document))
    elif what == "count":
        document["runs"][0]["scopes"]["base"]["images"] = 51
        evaluation.write_text(json.dumps(document))
    elif what == "pickle":
        np.savez(predictions, run=np.array([{}], dtype=object))
        evaluation.write_text(json.dumps(document | {"predictions_sha256": _digest(predictions)}))


def _digest(path: Path) -> str:
    from candor.files import file_digest

    return file_digest(path)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("gone", "predictions.npz: expected a file, found nothing"),
        ("cut", "predictions.npz: expected sha256"),
        ("not json", "evaluation.json: expected an evaluation of schema_version 1"),
        ("schema", "schema_version: Input should be 1"),
        ("figure", "found no nll"),
        ("count", "expected 51 predictions of run 0, base, found 50"),
        ("pickle", "expected arrays run, scope, confidence, correct"),
    ],
)
def test_damage_is_said_in_one_sentence(tmp_path: Path, what: str, message: str) -> None:
    write_evaluation(tmp_path, RUNS)
    damaged(tmp_path, what)
    with pytest.raises(IntegrityError) as caught:
        read_evaluation(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_plots_of_one_name_are_pooled(tmp_path: Path) -> None:
    assert write_plots(tmp_path, RUNS, 15, "title") == ["reliability.png", "confidence.png", "ece_scatter.png"]
    assert write_plots(tmp_path, RUNS[2:]) == ["reliability.png", "confidence.png"]  # no run has both scopes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confidence.png", "ece_scatter.png", "reliability.png"]


def test_an_infinite_figure_is_null_not_broken_json(tmp_path: Path) -> None:
    run = EvaluatedRun("x", "a", "coop", 1, {"new": scored(1, nll=math.inf)})
    write_evaluation(tmp_path, [run])
    assert json.loads((tmp_path / EVALUATION).read_text())["runs"][0]["scopes"]["new"]["figures"]["nll"] is None
