"""What an answer's receipts say is what the answer says, and from them comes what another calibrator would have said."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from prometheus_client import CollectorRegistry

from candor.calibration import Calibrator, DistanceAwareCalibrator, TemperatureCalibrator
from candor.calibration.calibrators import ScopedCalibrator
from candor.calibration.confidence_curve import confidence_at
from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, encode_prompts, save_artifact, tokenize_names
from candor.clip.artifact import BackboneRef
from candor.clip.backbone import Backbone
from service.api.requests import ParsedRequest, SentImage
from service.api.schemas import ClassifyRequest
from service.artifacts.loader import serve_classifier
from service.classifier import Classifier
from service.engine import Engine
from service.errors import ApiError
from service.feedback.issue import prediction_ids
from service.feedback.receipt import Receipt
from service.feedback.service import FeedbackService, SentFeedback, open_feedback
from service.metrics import ServiceMetrics
from service.native import classify_items
from service.question import Question
from service.settings import Settings
from vocab_index.index import VocabularyIndex
from vocab_index.sources.words import collect

LABELS = ("red umbrella", "Blue_Anchor", "snowman", "moon")
CALIBRATORS: tuple[Calibrator, ...] = (
    TemperatureCalibrator(temperature=3.0),
    DistanceAwareCalibrator(nearest=1, temperature=0.6),
    ScopedCalibrator(base=2.0, new=0.3, strength=0.5),
)


def artifact_with(path: Path, clip: Backbone, calibrator: Calibrator) -> PromptArtifact:
    torch.manual_seed(0)
    learner = ContextLearner.create(LearnerConfig(n_ctx=4), clip, ())
    learner.ctx.data.mul_(30)  # far from zero-shot
    fields: dict[str, Any] = {
        "method": "coop",
        "regularizers": {},
        "template": "a {}.",
        "calibrator": calibrator,
        "seed": 1,
    }
    base = ("blue anchor", "green anchor")
    return save_artifact(path, learner, backbone=BackboneRef.of(clip), base_classnames=base, **fields)


def image(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 60 * (seed % 4 + 1), (50, 70, 3), np.uint8))


def png(seed: int) -> bytes:
    buffer = BytesIO()
    image(seed).save(buffer, "PNG")
    return buffer.getvalue()


def request(*images: bytes | ApiError, **options: Any) -> ParsedRequest[ClassifyRequest]:
    sent = [SentImage(f"images.{i}", data) for i, data in enumerate(images)]
    return ParsedRequest(sent, ClassifyRequest(**({"labels": list(LABELS)} | options)))


@pytest.fixture
def feedback(tmp_path: Path) -> Iterator[FeedbackService]:
    service = open_feedback(Settings(state=tmp_path / "state"))
    assert service
    yield service
    service.store.close()


def engine_with(classifier: Classifier, registry: CollectorRegistry, feedback: FeedbackService | None) -> Engine:
    settings = Settings()
    return Engine(settings, serve_classifier(classifier, settings), ServiceMetrics(registry), feedback=feedback)


@pytest.mark.parametrize("calibrator", CALIBRATORS, ids=lambda c: str(c.kind))
def test_the_evidence_gives_the_answered_confidence_and_any_other(
    tmp_path: Path, tiny_clip: Backbone, calibrator: Calibrator
) -> None:
    artifact = artifact_with(tmp_path / "a", tiny_clip, calibrator)
    classifier, learner = Classifier(tiny_clip, artifact), artifact.learner(tiny_clip)
    features = tiny_clip.encode_images([image(seed) for seed in range(8)])
    found = classifier.classify(features, classifier.label_set(LABELS), evidence=True)
    text = encode_prompts(tiny_clip.model, learner(tokenize_names(tiny_clip, [n.replace("_", " ") for n in LABELS], 4)))
    logits = (tiny_clip.logit_scale * features.double() @ text.double().T).tolist()
    for prediction, row in zip(found, logits, strict=True):
        assert prediction.evidence
        for multiplier in (prediction.evidence.multiplier, 0.1, 1.0, 10.0):
            expected = 1 / sum(math.exp(multiplier * (z - max(row))) for z in row)
            assert confidence_at([prediction.evidence.curve], multiplier)[0] == pytest.approx(expected, abs=5e-4)
        (again,) = confidence_at([prediction.evidence.curve], prediction.evidence.multiplier)
        assert prediction.confidence == pytest.approx(again, abs=5e-4)
    assert classifier.classify(features, classifier.label_set(LABELS))[0].evidence is None


def test_the_evidence_holds_the_factors_of_the_predicted_label(tmp_path: Path, tiny_clip: Backbone) -> None:
    """gamma is there whatever the calibrator: another one may be made from it."""
    gammas, multipliers, labels = [], [], [LABELS, LABELS[::-1]]
    for calibrator in CALIBRATORS:
        classifier = Classifier(tiny_clip, artifact_with(tmp_path / calibrator.kind, tiny_clip, calibrator))
        sets = [classifier.label_set(names) for names in labels]
        features = tiny_clip.encode_images([image(seed) for seed in range(8)])
        for label_set in sets:
            for prediction in classifier.classify(features, label_set, evidence=True):
                place = label_set.labels.index(prediction.label)
                assert prediction.evidence
                assert prediction.evidence.multiplier == label_set.multiplier.tolist()[place]
                assert prediction.evidence.gamma == label_set.gamma.tolist()[place]
        gammas.append(sets[0].gamma.tolist())
        multipliers.append(sets[0].multiplier.tolist())
    assert gammas[0] == gammas[2] != gammas[1]  # that of the nearest base label alone
    assert [gamma[1] for gamma in gammas] == [1] * 3  # blue anchor is a base label
    assert min(abs(g - 1) for gamma in gammas for i, g in enumerate(gamma) if i != 1) > 1e-4
    assert multipliers[0] == [1 / 3.0] * 4
    assert multipliers[1] == pytest.approx([g / 0.6 for g in gammas[1]])  # a test of the classifier has gamma in a loop
    expected = [gammas[2][i] ** 0.5 / (2.0 if i == 1 else 0.3) for i in range(4)]
    assert multipliers[2] == pytest.approx(expected)
    assert Classifier(tiny_clip).label_set(LABELS).gamma is None
    assert classifier.label_set(LABELS, ("a {}",)).gamma is None


def read(feedback: FeedbackService, answer: dict[str, Any]) -> list[Receipt]:
    return [feedback.receipts.read(result["prediction_id"]) for result in answer["results"]]


def test_receipts_say_what_the_answer_says(
    tmp_path: Path, tiny_clip: Backbone, registry: CollectorRegistry, feedback: FeedbackService
) -> None:
    artifact = artifact_with(tmp_path / "a", tiny_clip, CALIBRATORS[1])
    engine = engine_with(Classifier(tiny_clip, artifact), registry, feedback)
    before = time.time()
    answer = asyncio.run(engine.classify(request(*map(png, range(6)), top_k=1, open_set=False)))
    receipts = read(feedback, answer)
    for receipt, result in zip(receipts, answer["results"], strict=True):
        assert next(iter(result)) == "prediction_id"
        assert (receipt.label, receipt.scope) == (result["label"], result["scope"])
        assert receipt.confidence == result["confidence"]
        assert (receipt.artifact, receipt.known) == (artifact.tag, "unscored")
        assert before <= receipt.issued <= time.time()
        assert receipt.outcome(result["label"].upper()) == "correct"
        others = [label for label in LABELS if label.replace("_", " ").lower() != result["label"].lower()]
        assert {receipt.outcome(label) for label in others} == {"wrong"}
        assert receipt.outcome("sun") == "outside"
    assert len({receipt.id for receipt in receipts}) == 6


def test_receipts_say_whether_the_image_was_known(
    tiny_clip: Backbone, registry: CollectorRegistry, feedback: FeedbackService
) -> None:
    index = VocabularyIndex.build(tiny_clip, collect("x", ["cat", "dog", "sun", "anchor"]))
    classifier = Classifier(tiny_clip, index=index)
    view = classifier.open_set_view
    for threshold, known in ((0.0, "true"), (1.1, "false"), (None, "unscored")):
        classifier.open_set_view = lambda labels, t=threshold: _with(view(labels), t)  # type: ignore[method-assign,misc]
        answer = asyncio.run(engine_with(classifier, CollectorRegistry(), feedback).classify(request(png(1))))
        (receipt,) = read(feedback, answer)
        assert (receipt.known, receipt.gamma, receipt.multiplier) == (known, None, 1.0)


def _with(view: Any, threshold: float | None) -> Any:
    return type(view)(view.scores, threshold, view.placed)


def test_what_is_not_monitored_has_none(
    tiny_clip: Backbone, registry: CollectorRegistry, feedback: FeedbackService
) -> None:
    index = VocabularyIndex.build(tiny_clip, collect("x", ["cat", "dog", "sun", "anchor"]))
    engine = engine_with(Classifier(tiny_clip, index=index), registry, feedback)

    def ids(*images: bytes | ApiError, **options: Any) -> list[Any]:
        answer = asyncio.run(engine.classify(request(*images, **options)))
        return [result.get("prediction_id", result.get("error")) for result in answer["results"]]

    assert ids(png(1), multi_label=True) == [None]
    assert ids(png(1), template="a {}") == ids(png(1), templates=["a {}", "{}"]) == [None]
    first, error, second = ids(png(1), ApiError(415, "no image", "images.1"), png(2))
    assert error == {"code": "not_an_image", "message": "no image", "field": "images.1"}
    assert feedback.receipts.read(first).id != feedback.receipts.read(second).id
    (scores,) = asyncio.run(engine.hugging_face(SentImage("inputs", png(1)), Question(LABELS)))["results"]
    assert [set(score) for score in scores] == [{"label", "score"}] * 4


def test_without_feedback_there_are_none(tiny_clip: Backbone, registry: CollectorRegistry) -> None:
    answer = asyncio.run(engine_with(Classifier(tiny_clip), registry, None).classify(request(png(1))))
    assert [result["prediction_id"] for result in answer["results"]] == [None]


def test_an_item_of_the_native_batch_has_its_own(
    tiny_clip: Backbone, registry: CollectorRegistry, feedback: FeedbackService
) -> None:
    from base64 import b64encode

    engine = engine_with(Classifier(tiny_clip), registry, feedback)
    items = [{"image": b64encode(png(seed)).decode(), "labels": ["cat", f"dog {seed}"]} for seed in range(3)]
    answers = asyncio.run(classify_items(engine, Settings(), items))
    for seed, answer in enumerate(answers):
        receipt = feedback.receipts.read(answer["prediction_id"])
        assert (receipt.label, receipt.confidence) == (answer["label"], answer["confidence"])
        assert receipt.outcome(f"dog {seed}") in ("correct", "wrong")
        assert receipt.outcome(f"dog {seed + 1}") == "outside"


def test_too_many_labels_for_a_receipt_are_answered_without(tiny_clip: Backbone, feedback: FeedbackService) -> None:
    classifier = Classifier(tiny_clip)
    label_set = classifier.label_set(LABELS)
    (prediction,) = classifier.classify(tiny_clip.encode_images([image(1)]), label_set, evidence=True)
    label_set.__dict__["hashes"] = bytes(3 * 17_000)
    assert prediction_ids(feedback.receipts, "a", label_set, [prediction]) == [None]


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 70_000])
def test_a_predicted_label_that_cannot_be_kept_is_answered_without(
    tiny_clip: Backbone, feedback: FeedbackService, name: str
) -> None:
    classifier = Classifier(tiny_clip)
    label_set = classifier.label_set(LABELS)
    (prediction,) = classifier.classify(tiny_clip.encode_images([image(1)]), label_set, evidence=True)
    other = replace(prediction, label=name)
    found = prediction_ids(feedback.receipts, "a", label_set, [prediction, other])
    assert [id_ is None for id_ in found] == [False, True]


def test_refused_feedback_is_counted_by_its_reason(
    tiny_clip: Backbone, registry: CollectorRegistry, feedback: FeedbackService
) -> None:
    engine = engine_with(Classifier(tiny_clip), registry, feedback)

    def refused() -> list[float | None]:
        reasons = ("invalid", "expired", "conflict")
        return [registry.get_sample_value("candor_feedback_refused_total", {"reason": reason}) for reason in reasons]

    assert refused() == [0, 0, 0]

    async def scenario() -> None:
        ids = [r["prediction_id"] for r in (await engine.classify(request(png(1), png(2))))["results"]]
        await feedback.add(
            [SentFeedback(ids[0], "moon"), SentFeedback("forged", "moon"), SentFeedback(ids[1][:-1], "moon")]
        )
        await feedback.add([SentFeedback(ids[0], "snowman")])
        now = feedback.receipts.now
        feedback.receipts.now = lambda: now() + 31 * 86_400
        await feedback.add([SentFeedback(ids[1], "moon")])

    asyncio.run(scenario())
    assert refused() == [2, 1, 1]
