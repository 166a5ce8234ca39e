"""`candor calibrate --from-feedback`: from a store filled as the service fills it to an artifact that is served."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax
from typer.testing import CliRunner

from candor.calibration import DistanceAwareCalibrator, ReliabilityBins, ScopedCalibrator, ece
from candor.calibration.confidence_curve import confidence_at
from candor.clip import PromptArtifact, encode_prompts, load_artifact, tokenize_names
from candor.clip.artifact import CONFIG, PROMPT, Scope, with_calibrator
from candor.clip.backbone import Backbone
from cli.calibrate import _write
from cli.main import app
from service.classifier import Classifier
from service.feedback.history import read_history
from service.feedback.store import Feedback
from training.calibrate import Calibration, CalibrationFit
from training.evaluation import ScopeResult

runner = CliRunner()
Receipts = Callable[..., list[Feedback]]
Filled = Callable[..., Path]


def run(*arguments: object) -> tuple[int, str, str]:
    result = runner.invoke(app, ["calibrate", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def outside(feedback: list[Feedback]) -> list[Feedback]:
    return [Feedback(f.receipt, "nothing of this", "outside", f.received) for f in feedback]


def test_a_new_version_with_its_evidence(tmp_path: Path, tuned: PromptArtifact, receipts: Receipts, filled: Filled) -> None:
    tag = tuned.tag
    new, noise = receipts(tag, "new", 2_000, 2.5), receipts(tag, "new", 500, 0.2, seed=1)
    other = receipts("another-artifact", "new", 2_000, 0.2)
    late = outside(receipts(tag, "new", 40, 2.5, start=1_400, seed=2))  # after the cut
    store = filled(tmp_path / "f.db", new, receipts(tag, "base", 250, 2.5), outside(noise), other, late)
    code, out, err = run(tmp_path / "a", "--from-feedback", store, "--out", tmp_path / "b", "--json")
    assert (code, err) == (0, "")
    document, healed = json.loads(out), load_artifact(tmp_path / "b")
    calibrator = healed.config.calibrator
    assert isinstance(calibrator, ScopedCalibrator)
    assert calibrator.new == pytest.approx(2.5, rel=0.1)
    assert (calibrator.base, calibrator.strength) == (1.0, 0.0)
    assert document["calibrator"] == calibrator.model_dump()
    assert (document["tag"], document["healed_tag"], document["refusal"]) == (tag, healed.tag, None)
    assert healed.tag != tag
    assert (tmp_path / "b" / PROMPT).read_bytes() == (tmp_path / "a" / PROMPT).read_bytes()
    assert load_artifact(tmp_path / "a").config == tuned.config

    evidence = healed.config.healing
    assert evidence == document["feedback"]
    assert (evidence["tags"], evidence["new"]["fitted"], evidence["new"]["judged"]) == ([tag], 1400, 600)
    assert (evidence["base"]["healed"], evidence["base"]["judged"]) == (False, 75)
    assert evidence["new"]["cut"] == "1970-01-01T00:23:19+00:00"
    judged = new[1400:]
    bins = ReliabilityBins.of([f.receipt.confidence for f in judged], [f.outcome == "correct" for f in judged], 20)
    assert evidence["new"]["before"]["ece"] == pytest.approx(ece(bins), abs=5e-3)  # the curve moves some over an edge
    assert evidence["new"]["after"]["ece"] < evidence["new"]["before"]["ece"] / 2

    assert healed.config.reference["base"] == tuned.config.reference["base"]  # its calibrator is the same
    curves = np.array([f.receipt.curve for f in (*new[1400:], *late)], np.float32)  # drift sees all, labelled or not
    confidence = confidence_at(curves.astype(float), np.full(640, 1 / calibrator.new))
    histogram = np.histogram(confidence, 20, (0, 1))[0]
    assert healed.config.reference["new"].confidence_histogram == histogram.tolist()
    stored = healed.config.reference["new"].reliability
    assert sum(stored.confidence) / 600 == pytest.approx(evidence["new"]["after"]["confidence"])
    assert healed.config.evaluation["base"] == tuned.config.evaluation["base"]
    figures = healed.config.evaluation["new"]
    assert (figures["fd"], figures["text_deviation"]) == (0.7, 0.3)
    assert math.isnan(figures["piece"])
    assert figures["accuracy"] == evidence["new"]["after"]["accuracy"]

    report = tmp_path / "b" / "report"
    assert (
        json.loads((report / "feedback.json").read_text())["reliability"]["new"]["before"]["count"] == bins.count.tolist()
    )
    text = (report / "feedback.md").read_text()
    assert "- new is healed: fitted to 1400 predictions until 1970-01-01T00:23:19+00:00; on the 600 after them" in text
    assert "- base keeps its calibrator: 175 labelled predictions to fit to and 75 later ones" in text
    with Image.open(report / "feedback.png") as plot:
        assert plot.size[0] > 300


def test_the_service_answers_as_float64_says(
    tmp_path: Path, tiny_clip: Backbone, tuned: PromptArtifact, receipts: Receipts, filled: Filled
) -> None:
    store = filled(tmp_path / "f.db", *(receipts(tuned.tag, s, 2_000, t) for s, t in (("base", 0.6), ("new", 2.5))))
    assert run(tmp_path / "a", "--from-feedback", f"sqlite:///{store}", "--out", tmp_path / "b")[0] == 0
    healed = load_artifact(tmp_path / "b")
    calibrator, labels = healed.config.calibrator, ("red umbrella", "blue anchor", "snowman", "green anchor")
    assert isinstance(calibrator, ScopedCalibrator)
    assert (calibrator.base, calibrator.new) == (pytest.approx(0.6, rel=0.1), pytest.approx(2.5, rel=0.1))
    classifier = Classifier(tiny_clip, healed)
    text = encode_prompts(tiny_clip.model, healed.learner(tiny_clip)(tokenize_names(tiny_clip, labels, 4))).double()
    for wanted in range(len(labels)):  # an image of each label: its own text feature
        image = text[wanted : wanted + 1]
        logits = (tiny_clip.logit_scale * image @ text.T).squeeze(0).numpy()
        expected = softmax(logits / (calibrator.base if "anchor" in labels[wanted] else calibrator.new))
        [found] = classifier.classify(image.float(), classifier.label_set(labels))
        assert found.label == labels[wanted]
        assert found.probabilities == pytest.approx(expected.tolist(), rel=1e-4)


def test_refused_where_there_is_no_gain_or_too_little(
    tmp_path: Path, tuned: PromptArtifact, receipts: Receipts, filled: Filled
) -> None:
    store = filled(tmp_path / "f.db", receipts(tuned.tag, "new", 2_000, 1.0), receipts(tuned.tag, "base", 250, 3.0))
    code, out, err = run(tmp_path / "a", "--from-feedback", store, "--out", tmp_path / "b")
    assert code == 1
    assert "new keeps its calibrator: no gain beyond noise: on the 600 later predictions NLL would fall by" in out
    assert "base keeps its calibrator: 175 labelled predictions" in out
    assert err.strip() == "nothing is written: no scope has enough feedback and a gain beyond noise"
    document = json.loads(run(tmp_path / "a", "--from-feedback", store, "--out", tmp_path / "b", "--json")[1])
    assert (document["artifact"], document["healed_tag"]) == (None, None)
    assert document["refusal"].startswith("base: 175 labelled predictions to fit to and 75 later ones to judge on")
    assert not (tmp_path / "b").exists()


def test_earlier_versions_count_and_what_is_long_ago_does_not(
    tmp_path: Path, tuned: PromptArtifact, receipts: Receipts, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.healing.time.time", lambda: 10_000.0)
    first = filled(tmp_path / "f.db", receipts(tuned.tag, "new", 1_000, 3.0))
    assert run(tmp_path / "a", "--from-feedback", first, "--out", tmp_path / "b")[0] == 0
    healed = load_artifact(tmp_path / "b")
    filled(tmp_path / "f.db", receipts(healed.tag, "new", 1_000, 1.5, start=7_000))
    arguments = ["--from-feedback", first, "--earlier", tmp_path / "a", "--json", "--replace", "--out"]
    both = json.loads(run(tmp_path / "b", *arguments, tmp_path / "c")[1])["feedback"]
    assert both["tags"] == [healed.tag, tuned.tag]
    assert both["new"]["fitted"] + both["new"]["judged"] == 2_000
    recent = json.loads(run(tmp_path / "b", *arguments, tmp_path / "d", "--since", "1h")[1])["feedback"]["new"]
    assert recent["fitted"] + recent["judged"] == 1_000
    assert recent["temperature"] == [healed.config.calibrator.new, pytest.approx(1.5, rel=0.15)]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "dac"], "--kind goes not together with --from-feedback"),
        (["--force"], "--force goes not together with --from-feedback"),
        (["--true-positive-rate", "0.9"], "--true-positive-rate goes not together with --from-feedback"),
        (["--since", "soon"], "'soon' is no duration"),
        (["--earlier", "{here}/other"], "is no earlier version of coop-"),
        (["--earlier", "{here}/nowhere"], "config.json: expected a file, found nothing"),
    ],
)
def test_options_that_make_no_sense(
    tmp_path: Path, tuned: PromptArtifact, filled: Filled, arguments: list[str], message: str
) -> None:
    (tmp_path / "other").mkdir()
    config = json.loads((tmp_path / "a" / CONFIG).read_text()) | {"template": "a {}."}
    (tmp_path / "other" / CONFIG).write_text(json.dumps(config))
    (tmp_path / "other" / PROMPT).write_bytes(b"")
    store = filled(tmp_path / "f.db")
    given = [argument.replace("{here}", str(tmp_path)) for argument in arguments]
    code, _, err = run(tmp_path / "a", "--from-feedback", store, "--out", tmp_path / "b", *given)
    assert (code, message in err, len(err.strip().splitlines())) == (2, True, 1)
    assert not (tmp_path / "b").exists()


def test_an_earlier_version_with_other_distances(
    tmp_path: Path, tuned: PromptArtifact, receipts: Receipts, filled: Filled
) -> None:
    config = json.loads((tmp_path / "a" / CONFIG).read_text())
    (tmp_path / "other").mkdir()
    dac = DistanceAwareCalibrator(nearest=3).model_dump()
    (tmp_path / "other" / CONFIG).write_text(json.dumps(config | {"calibrator": dac}))
    (tmp_path / "other" / PROMPT).write_bytes(b"")
    arguments = ["--from-feedback", filled(tmp_path / "f.db"), "--earlier", tmp_path / "other", "--out", tmp_path / "b"]
    code, _, err = run(tmp_path / "a", *arguments)
    assert (code, "its calibrator has another nearest or near" in err) == (2, True)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("{here}/none.db", "there is no feedback database"),
        ("sqlite:///{here}/none.db", "there is no feedback database"),
        ("sqlite://", "needs a file"),
        ("mysql://me:secret@host/x", "no feedback database"),
        ("{here}/a/config.json", "cannot be used"),
    ],
)
def test_a_store_that_is_none(tmp_path: Path, tuned: PromptArtifact, place: str, message: str) -> None:
    given = place.replace("{here}", str(tmp_path))
    code, _, err = run(tmp_path / "a", "--from-feedback", given, "--out", tmp_path / "b")
    assert (code, message in err, "secret" in err) == (2, True, False)
    assert not (tmp_path / "none.db").exists()


def test_feedback_options_without_feedback(
    tmp_path: Path, tuned: PromptArtifact, receipts: Receipts, filled: Filled
) -> None:
    code, _, err = run(tmp_path / "a", "--since", "1d", "--out", tmp_path / "b")
    assert (code, "--since goes only with --from-feedback" in err) == (2, True)


def test_a_calibrator_of_images_forgets_the_feedback(
    tmp_path: Path, tuned: PromptArtifact, receipts: Receipts, filled: Filled
) -> None:
    store = filled(tmp_path / "f.db", receipts(tuned.tag, "new", 2_000, 2.5))
    assert run(tmp_path / "a", "--from-feedback", store, "--out", tmp_path / "b")[0] == 0
    healed = load_artifact(tmp_path / "b")
    assert healed.config.healing["new"]["healed"]
    (tmp_path / "b" / "report" / "own.md").write_text("of tuning")
    plain = with_calibrator(healed, tmp_path / "c", DistanceAwareCalibrator(), reference={}, evaluation={})
    assert plain.config.healing == {}
    assert [path.name for path in (tmp_path / "c" / "report").iterdir()] == ["own.md"]


def test_the_latest_of_all_versions_are_taken(
    tmp_path: Path, receipts: Receipts, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.feedback.history.MOST", 30)
    old, new = receipts("old", "new", 40, 1.0), receipts("new", "new", 20, 1.0, start=100)
    found = read_history(str(filled(tmp_path / "f.db", old, new)), ["new", "old"]).judged["new"]
    assert found.time.tolist() == [*range(30, 40), *range(100, 120)]
    latest = [f.receipt.curve for f in (*old[30:], *new)]
    assert found.curve.tolist() == np.array(latest, np.float32).tolist()


def test_a_calibrator_that_is_kept_keeps_the_evidence(
    tmp_path: Path, tuned: PromptArtifact, receipts: Receipts, filled: Filled
) -> None:
    store = filled(tmp_path / "f.db", receipts(tuned.tag, "new", 2_000, 2.5))
    assert run(tmp_path / "a", "--from-feedback", store, "--out", tmp_path / "b")[0] == 0
    healed = load_artifact(tmp_path / "b")
    images = ScopeResult(np.array([0.9, 0.6]), np.array([True, False]), fd=0.1, text_deviation=0.2)
    fit = CalibrationFit(healed.config.calibrator, 0.1, 0.1, 1.0, 1.0, 2, kept=True)
    both: dict[Scope, ScopeResult] = {"base": images, "new": images}
    _write(healed, tmp_path / "c", False, Calibration(fit, both, both))
    kept = load_artifact(tmp_path / "c").config
    assert kept.healing == healed.config.healing
    assert kept.reference["new"] == healed.config.reference["new"]
    assert kept.evaluation["new"]["ece"] == healed.config.evaluation["new"]["ece"]
    assert (kept.reference["base"], kept.evaluation["base"]["ece"]) == (images.reference(), images.figures()["ece"])
    assert (tmp_path / "c" / "report" / "feedback.md").is_file()
