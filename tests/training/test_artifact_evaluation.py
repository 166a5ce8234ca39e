"""Artifacts on a data set: scopes by name, each scope among its own labels, the artifact's own calibrator."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from candor.calibration import DistanceAwareCalibrator, TemperatureCalibrator
from candor.clip.artifact import BackboneRef, PromptArtifact, save_artifact
from candor.clip.backbone import Backbone
from candor.clip.learners import LEARNERS, LearnerConfig
from candor.clip.prompt_tokens import tokenize_names
from candor.clip.templates import fill
from candor.clip.text_encoder import encode_prompts
from candor.errors import IntegrityError, InvalidInput
from training.artifact_evaluation import compare_artifacts, reference_samples, split_labels, zero_shot_text
from training.data import ImageDataset, Sample, held_out
from training.evaluation import evaluate

NAMES = ("sun", "anchor", "red_heart", "ankh", "Snowman")
TEMPLATE = "a picture of a {}."


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8))


def samples(per_label: int, start: int = 0) -> tuple[Sample, ...]:
    return tuple(Sample(i % len(NAMES), partial(picture, start + i)) for i in range(per_label * len(NAMES)))


DATASET = ImageDataset("tiny", NAMES, TEMPLATE, samples(6, 100), samples(4))


def tuned(path: Path, clip: Backbone, base: tuple[str, ...], seed: int = 1, **fields: object) -> PromptArtifact:
    torch.manual_seed(seed)
    learner = LEARNERS["context"].create(LearnerConfig(n_ctx=2), clip, base)
    defaults = {"method": "coop", "regularizers": {}, "template": TEMPLATE, "seed": seed, "training": {"shots": 4}}
    given = defaults | {"backbone": BackboneRef.of(clip), "base_classnames": base} | fields
    return save_artifact(path, learner, **given)


def test_a_label_is_base_where_its_name_was_tuned() -> None:
    assert split_labels(NAMES, ("RED  Heart", "sun", "snowman")) == {"base": (0, 2, 4), "new": (1, 3)}
    assert split_labels(NAMES, ("cat", "dog")) == {"new": (0, 1, 2, 3, 4)}
    assert split_labels(NAMES, [*NAMES, "cat"]) == {"base": (0, 1, 2, 3, 4)}
    # one label alone would be a classifier that is always right
    assert split_labels(NAMES, ("sun",)) == {"new": (1, 2, 3, 4)}
    with pytest.raises(InvalidInput, match="neither base nor new has two labels among 2"):
        split_labels(("sun", "ankh"), ("sun",))


def test_each_scope_among_its_own_labels(tmp_path: Path, tiny_clip: Backbone) -> None:
    """Against an evaluation put together here, label by label."""
    artifact = tuned(tmp_path / "a", tiny_clip, ("ankh", "red heart", "anchor"))
    runs, skipped = compare_artifacts({"mine": artifact}, {tiny_clip.digest: tiny_clip}, DATASET)
    assert skipped == ()
    assert [(run.name, run.method, run.seed, run.artifact) for run in runs] == [
        ("zero-shot", "zero-shot", None, None),
        ("mine", "coop", 1, artifact.tag),
    ]
    for scope, labels in (("base", [1, 2, 3]), ("new", [0, 4])):
        chosen = [s for s in DATASET.test if s.label in labels]
        images = tiny_clip.encode_images([s.open() for s in chosen])
        truth = torch.tensor([labels.index(s.label) for s in chosen])
        text = tiny_clip.encode_text(fill(TEMPLATE, [NAMES[label] for label in labels]))
        expected = evaluate(images, truth, text, text, tiny_clip.logit_scale)
        result = runs[0].scopes[scope]
        assert result.n_labels == len(labels)
        assert len(result.correct) == 4 * len(labels)
        assert result.confidence == pytest.approx(expected.confidence, abs=1e-5)
        assert result.correct.tolist() == expected.correct.tolist()
        assert result.text_deviation == pytest.approx(0, abs=1e-6)
        assert runs[1].scopes[scope].text_deviation > 1e-4


def test_the_reference_images_are_held_out_base_images(tmp_path: Path, tiny_clip: Backbone) -> None:
    artifact = tuned(tmp_path / "a", tiny_clip, ("ankh", "red heart"), seed=3)
    split = split_labels(NAMES, artifact.config.base_classnames)
    expected = [s for s in held_out(DATASET, 4, 3) if s.label in (2, 3)]
    assert len(expected) == 4  # two of the six images of each were no shots
    assert reference_samples(DATASET, artifact, split) == expected
    runs, _ = compare_artifacts({"mine": artifact}, {tiny_clip.digest: tiny_clip}, DATASET, zero_shot=False)
    assert 0 <= runs[0].scopes["new"].piece <= 1
    test_only = ImageDataset("test", NAMES, TEMPLATE, (), DATASET.test)
    assert reference_samples(test_only, artifact, split) == []
    runs, _ = compare_artifacts({"mine": artifact}, {tiny_clip.digest: tiny_clip}, test_only, zero_shot=False)
    assert np.isnan(runs[0].scopes["new"].piece)
    assert reference_samples(DATASET, artifact, {"new": (0, 1)}) == []


@pytest.mark.parametrize("calibrator", [TemperatureCalibrator(temperature=3), DistanceAwareCalibrator(temperature=2)])
def test_the_calibrator_of_the_artifact_is_applied(tmp_path: Path, tiny_clip: Backbone, calibrator: object) -> None:
    base = ("ankh", "red heart", "anchor")
    plain, cooled = tuned(tmp_path / "a", tiny_clip, base), tuned(tmp_path / "b", tiny_clip, base, calibrator=calibrator)
    runs, _ = compare_artifacts({"a": plain, "b": cooled}, {tiny_clip.digest: tiny_clip}, DATASET, zero_shot=False)
    for scope in ("base", "new"):
        before, after = (run.scopes[scope] for run in runs)
        assert before.correct.tolist() == after.correct.tolist()
        # a constant factor below 1: odds of the best label against all others shrink
        assert (after.confidence < before.confidence).all()


def test_a_scope_that_is_empty_is_left_out(tmp_path: Path, tiny_clip: Backbone) -> None:
    other, all_names = tuned(tmp_path / "a", tiny_clip, ("cat", "dog")), tuned(tmp_path / "b", tiny_clip, NAMES)
    runs, _ = compare_artifacts({"other": other, "all": all_names}, {tiny_clip.digest: tiny_clip}, DATASET)
    assert [(run.name, list(run.scopes)) for run in runs] == [
        ("zero-shot, labels as other", ["new"]),
        ("zero-shot, labels as all", ["base"]),
        ("other", ["new"]),
        ("all", ["base"]),
    ]
    first, second = runs[0].scopes["new"], runs[1].scopes["base"]
    assert first.confidence.tolist() == second.confidence.tolist()  # the same labels under another name of the scope
    without_anchor = ImageDataset("t", NAMES, TEMPLATE, (), tuple(s for s in DATASET.test if s.label in (0, 4)))
    artifact = tuned(tmp_path / "c", tiny_clip, ("sun", "snowman"))
    runs, _ = compare_artifacts({"c": artifact}, {tiny_clip.digest: tiny_clip}, without_anchor, zero_shot=False)
    assert list(runs[0].scopes) == ["base"]  # new has labels, but no image


def test_what_cannot_be_evaluated_is_said_before_any_image_is_read(tmp_path: Path, tiny_clip: Backbone) -> None:
    def unread() -> Image.Image:
        raise AssertionError("an image was read")

    blind = ImageDataset("blind", NAMES, TEMPLATE, (), tuple(Sample(i, unread) for i in range(5)))
    clips = {tiny_clip.digest: tiny_clip}
    with pytest.raises(InvalidInput, match="two rows would be called 'zero-shot'"):
        compare_artifacts({"zero-shot": tuned(tmp_path / "a", tiny_clip, NAMES[:3])}, clips, blind)
    long = ImageDataset("long", ("sun " * 99, *NAMES), TEMPLATE, (), blind.test)
    with pytest.raises(InvalidInput, match="too long for the text tower"):
        compare_artifacts({"a": tuned(tmp_path / "b", tiny_clip, NAMES[:3])}, clips, long)
    foreign = BackboneRef(model="glyph-clip", pretrained="random", sha256="0" * 64)
    artifact = tuned(tmp_path / "c", tiny_clip, NAMES[:3], backbone=foreign)
    with pytest.raises(IntegrityError, match="expected backbone glyph-clip with weights 000000000000"):
        compare_artifacts({"a": artifact}, {"0" * 64: tiny_clip}, blind)
    nothing = ImageDataset("nothing", NAMES, TEMPLATE, (), ())
    with pytest.raises(InvalidInput, match="nothing has no test image"):
        compare_artifacts({"a": tuned(tmp_path / "d", tiny_clip, NAMES[:3])}, clips, nothing)


def test_two_backbones_have_a_zero_shot_row_each(tmp_path: Path, tiny_clip: Backbone, glyph_clip: Backbone) -> None:
    artifacts = {c.digest[:4]: tuned(tmp_path / c.digest, c, NAMES[:3]) for c in (tiny_clip, glyph_clip)}
    runs, _ = compare_artifacts(artifacts, {c.digest: c for c in (tiny_clip, glyph_clip)}, DATASET)
    assert [run.name for run in runs] == [
        f"zero-shot glyph-clip {tiny_clip.digest[:8]}",
        tiny_clip.digest[:4],
        f"zero-shot glyph-clip {glyph_clip.digest[:8]}",
        glyph_clip.digest[:4],
    ]
    for run, clip in zip(runs[0::2], (tiny_clip, glyph_clip), strict=True):
        text = zero_shot_text(clip, DATASET, {"base": (0, 1, 2)})["base"].text_features
        images = clip.encode_images([s.open() for s in DATASET.test if s.label < 3])
        expected = (clip.logit_scale * images @ text.T).softmax(dim=-1).max(dim=-1).values
        assert run.scopes["base"].confidence == pytest.approx(expected.numpy(), abs=1e-4)


def test_unreadable_images_are_an_error_or_counted(tmp_path: Path, tiny_clip: Backbone) -> None:
    from candor.images import UnreadableImage

    def broken() -> Image.Image:
        raise UnreadableImage("broken.png: not an image")

    dataset = ImageDataset("mixed", NAMES, TEMPLATE, (), (*DATASET.test, Sample(0, broken)))
    artifact, clips = tuned(tmp_path / "a", tiny_clip, NAMES[:3]), {tiny_clip.digest: tiny_clip}
    with pytest.raises(InvalidInput, match=r"broken\.png"):
        compare_artifacts({"a": artifact}, clips, dataset)
    runs, skipped = compare_artifacts({"a": artifact}, clips, dataset, skip_bad=True)
    assert skipped == ("broken.png: not an image",)
    assert len(runs[1].scopes["base"].correct) == 12


def test_a_class_specific_prompt_is_evaluated_on_its_own_classes(tmp_path: Path, tiny_clip: Backbone) -> None:
    base = ("Ankh", "anchor", "sun")  # in another order and case than the data set's
    torch.manual_seed(1)
    learner = LEARNERS["context"].create(LearnerConfig(n_ctx=2, class_specific=True), tiny_clip, base)
    fields = {"backbone": BackboneRef.of(tiny_clip), "method": "coop", "regularizers": {}, "template": TEMPLATE, "seed": 1}
    artifact = save_artifact(tmp_path / "a", learner, base_classnames=base, **fields)
    clips = {tiny_clip.digest: tiny_clip}
    runs, _ = compare_artifacts({"own": artifact}, clips, DATASET)
    assert [list(run.scopes) for run in runs] == [["base", "new"], ["base"]]
    names = tokenize_names(tiny_clip, ("sun", "anchor", "Ankh"), 2)
    with torch.inference_mode():
        text = encode_prompts(tiny_clip.model, artifact.learner(tiny_clip)(names))
    images = tiny_clip.encode_images([s.open() for s in DATASET.test if s.label in (0, 1, 3)])
    expected = (tiny_clip.logit_scale * images @ text.T).softmax(dim=-1).max(dim=-1).values
    assert runs[1].scopes["base"].confidence == pytest.approx(expected.numpy(), abs=1e-4)
    foreign = ImageDataset("foreign", ("cat", "dog"), TEMPLATE, (), DATASET.test)
    with pytest.raises(InvalidInput, match="foreign has no two of them"):
        compare_artifacts({"own": artifact}, clips, foreign)
