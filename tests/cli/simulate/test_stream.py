"""The pictures: the same ones each time, of the labels they say, darker and noisier at dusk by what is promised."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from candor.clip.artifact import ArtifactConfig, BackboneRef
from candor.clip.learners import LearnerConfig
from candor.errors import InvalidInput
from cli.simulate.stream import Stream, at_dusk
from glyph_world.tasks import TASKS

TASK = TASKS["cats-and-cows"]


def tuned_on(dataset: str) -> ArtifactConfig:
    return ArtifactConfig(
        backbone=BackboneRef(model="glyph-clip", pretrained="glyphs", sha256="0"),
        learner=LearnerConfig(),
        method="coop",
        regularizers={},
        base_classnames=tuple(TASK.labels)[:24],
        template="a {}",
        training={"dataset": dataset},
        seed=0,
        prompt_sha256="0",
    )


def pixels(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)), np.float64) / 255


def test_the_same_number_is_the_same_picture_whenever_it_is_asked_for() -> None:
    first, second = (Stream(tuned_on("glyphs/cats-and-cows"), seed=3) for _ in range(2))
    assert [first.picture(n, n > 2) for n in range(5)] == [second.picture(n, n > 2) for n in (0, 1, 2, 3, 4)]
    assert Stream(tuned_on("glyphs/cats-and-cows"), seed=4).picture(0, False) != first.picture(0, False)


def test_base_and_new_take_turns_each_among_its_own_labels() -> None:
    stream, names = Stream(tuned_on("glyphs/cats-and-cows"), seed=0), tuple(TASK.labels)
    pictures = [stream.picture(n, False) for n in range(40)]
    assert [picture.labels for picture in pictures] == [names[:24], names[24:]] * 20
    assert all(picture.label in picture.labels for picture in pictures)
    assert len({picture.label for picture in pictures}) > 20


def test_dusk_is_less_light_and_noise_and_nothing_else() -> None:
    white = Image.new("RGB", (200, 200), (204, 204, 204))  # 0.8, so 0.56 at dusk: 2.2 deviations below 1
    noisy = np.asarray(at_dusk(white, np.random.default_rng(0)), np.float64) / 255
    rng = np.random.default_rng(1)
    expected = np.clip(0.56 + 0.2 * rng.standard_normal(10**6), 0, 1)
    assert noisy.mean() == pytest.approx(expected.mean(), abs=0.003)
    assert noisy.std() == pytest.approx(expected.std(), abs=0.003)
    assert np.corrcoef(noisy[..., 0].ravel(), noisy[..., 1].ravel())[0, 1] == pytest.approx(0, abs=0.02)
    stream = Stream(tuned_on("glyphs/cats-and-cows"), seed=0)
    day, dusk = (stream.picture(6, shifted) for shifted in (False, True))
    assert (day.label, day.labels, day.shifted, dusk.shifted) == (dusk.label, dusk.labels, False, True)
    assert np.corrcoef(pixels(day.file).ravel(), pixels(dusk.file).ravel())[0, 1] > 0.5  # the same scene


@pytest.mark.parametrize("dataset", ["imagefolder", "glyphs/dogs", "None"])
def test_an_artifact_of_other_pictures_is_refused(dataset: str) -> None:
    with pytest.raises(InvalidInput, match=r"tuned on|unknown glyph task"):
        Stream(tuned_on(dataset), seed=0)
