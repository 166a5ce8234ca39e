"""From files to an evaluated learner: what all methods share, what a bad file does, and when a checkpoint fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from candor.clip.backbone import Backbone
from candor.clip.learners import LearnerConfig
from candor.errors import InvalidInput
from training.augment import AugmentConfig
from training.config import OutlierConfig, TrainConfig
from training.data import ImageDataset, Sample, few_shot, in_scope
from training.datasets import image_sample
from training.features import FeatureCache, encode_samples
from training.loop import ImageViews
from training.methods import METHODS, check_method
from training.run import Features, Images, Shots, encode_shots, evaluate_learner, evaluate_zero_shot, prepare, tune
from vocab_index.outliers import OutlierPool

NAMES = ("cat", "dog", "sun", "old_anchor", "umbrella", "owl")
TWO_SHOTS = TrainConfig(
    shots=2, epochs=2, batch_size=3, learner=LearnerConfig(n_ctx=4), seed=5, augment=AugmentConfig(views=0)
)


@pytest.fixture
def dataset(tmp_path: Path) -> ImageDataset:
    """Six classes of 4 training and 2 test pictures, no two alike."""

    def samples(part: str, count: int) -> tuple[Sample, ...]:
        made = []
        for label, name in enumerate(NAMES):
            for number in range(count):
                path = tmp_path / part / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                seed = [label, number, part == "test"]
                patches = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
                Image.fromarray(patches).resize((70, 50), Image.Resampling.NEAREST).save(path)
                made.append(image_sample(label, path))
        return tuple(made)

    return ImageDataset("made-up", NAMES, "a {}.", samples("train", 4), samples("test", 2))


@pytest.fixture
def outliers(glyph_clip: Backbone) -> OutlierPool:
    words = ("moon", "teapot", "fork", "snail")
    return OutlierPool(words, (0.4, 0.3, 0.2, 0.1), glyph_clip.encode_text([f"a {word}." for word in words]), ())


def spoil(sample: Sample) -> str:
    """Cut a sample's file short; its path."""
    assert sample.path is not None
    sample.path.write_bytes(sample.path.read_bytes()[:40])
    return str(sample.path)


def shown(shots: Shots, epoch: int = 0) -> Tensor:
    """The features of all shots in an epoch."""
    return shots.images(torch.arange(len(shots.labels)), epoch)


@pytest.mark.parametrize("part", ["shot", "held out", "test"])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_bad_file_is_named_and_left_out_only_if_asked(
    glyph_clip: Backbone, dataset: ImageDataset, part: str, fresh: bool
) -> None:
    shots = few_shot(dataset.train, 2, TWO_SHOTS.seed)
    first = {
        "shot": next(s for s in shots if s.label == 1),
        "held out": next(s for s in dataset.train if s.label == 1 and s not in shots),
        "test": next(s for s in dataset.test if s.label == 1),
    }
    path = spoil(first[part])

    def run(images: Images) -> tuple[Features, Shots]:
        return prepare(glyph_clip, dataset, images), encode_shots(glyph_clip, dataset, TWO_SHOTS, images)

    with pytest.raises(InvalidInput, match=rf"1 of .* images cannot be read: {path}.*--skip-bad"):
        run(Images(fresh=fresh))
    features, drawn = run(Images(fresh=fresh, skip_bad=True))
    assert [line.split(":")[0] for line in (*features.skipped, *drawn.skipped)] == [path]
    counts = {"shot": len(drawn.labels), "held out": len(drawn.held_out[1]), "test": len(features.test["base"][1])}
    assert counts == dict.fromkeys(counts, 6) | {part: 5}
    left = {"shot": drawn.labels, "held out": drawn.held_out[1], "test": features.test["base"][1]}[part]
    assert left.tolist().count(1) == 1  # the others keep their labels
    assert shown(drawn).shape == (counts["shot"], 64)
    assert len(features.test["new"][1]) == 6


def test_a_run_goes_on_without_the_bad_file(glyph_clip: Backbone, dataset: ImageDataset) -> None:
    spoil(few_shot(dataset.train, 2, TWO_SHOTS.seed)[0])
    images = Images(skip_bad=True)
    features, shots = prepare(glyph_clip, dataset, images), encode_shots(glyph_clip, dataset, TWO_SHOTS, images)
    tuned = tune(glyph_clip, dataset, features, shots, "kgcoop", TWO_SHOTS)
    assert len(tuned.history) == 2
    results = evaluate_learner(glyph_clip, tuned.learner, dataset, features, shots.held_out[0])
    assert {scope: result.bins.total for scope, result in results.items()} == {"base": 6, "new": 6}


def test_fresh_views_begin_as_the_cached_ones(glyph_clip: Backbone, dataset: ImageDataset) -> None:
    config = TWO_SHOTS.model_copy(update={"augment": AugmentConfig(views=2)})
    cached = encode_shots(glyph_clip, dataset, config)
    fresh = encode_shots(glyph_clip, dataset, config, Images(fresh=True))
    assert torch.equal(fresh.labels, cached.labels)
    for epoch in (0, 1):
        torch.testing.assert_close(shown(fresh, epoch), shown(cached, epoch), atol=1e-5, rtol=1e-4)
    assert torch.equal(shown(cached, 2), shown(cached, 0))
    apart = (shown(fresh, 2) - shown(fresh, 0)).norm(dim=-1)
    assert apart.max() > 0.05  # epoch 2 is a view that was not seen before
    torch.testing.assert_close(fresh.held_out[0], cached.held_out[0])  # held-out images are never augmented


def test_a_class_specific_context_is_judged_on_base_alone(glyph_clip: Backbone, dataset: ImageDataset) -> None:
    config = TWO_SHOTS.model_copy(update={"learner": LearnerConfig(n_ctx=4, class_specific=True)})
    features, shots = prepare(glyph_clip, dataset), encode_shots(glyph_clip, dataset, config)
    tuned = tune(glyph_clip, dataset, features, shots, "coop", config)
    assert tuned.learner.ctx.shape == (3, 4, 96)
    assert list(evaluate_learner(glyph_clip, tuned.learner, dataset, features)) == ["base"]
    assert list(evaluate_zero_shot(glyph_clip, features)) == ["base", "new"]


def test_shots_are_those_of_the_seed_and_of_nothing_else(
    glyph_clip: Backbone, dataset: ImageDataset, tmp_path: Path
) -> None:
    def drawn(**settings: object) -> tuple[Tensor, ...]:
        images = Images(FeatureCache(tmp_path / "cache"))
        shots = encode_shots(glyph_clip, dataset, TWO_SHOTS.model_copy(update=settings), images)
        return shown(shots), shots.labels, *shots.held_out

    def same(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> bool:
        return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))

    first = drawn()
    assert same(first, drawn())
    other = {
        "learner": LearnerConfig(n_ctx=16),
        "optimiser": "adam",
        "epochs": 7,
        "weights": {"dor": 1.0},
        "outliers": OutlierConfig(pool=3),
    }
    assert same(first, drawn(**other))
    assert not same(first, drawn(seed=6))


@dataclass(frozen=True)
class Recorded:
    """Views that note which rows were asked for in which epoch."""

    views: ImageViews
    asked: list[tuple[int, list[int]]] = field(default_factory=list)

    def __call__(self, rows: Tensor, epoch: int) -> Tensor:
        self.asked.append((epoch, rows.tolist()))
        return self.views(rows, epoch)


def test_every_method_starts_alike_and_sees_the_same_batches(
    glyph_clip: Backbone, dataset: ImageDataset, outliers: OutlierPool
) -> None:
    config = TWO_SHOTS.model_copy(update={"warmup_lr": 0.0, "weight_decay": 0.0})
    features, shots = prepare(glyph_clip, dataset), encode_shots(glyph_clip, dataset, config)
    asked, starts, ends = [], [], []
    for method in METHODS:
        for epochs, ctx in ((1, starts), (2, ends)):
            views = Recorded(shots.images)
            settings = config.model_copy(update={"epochs": epochs})
            tuned = tune(glyph_clip, dataset, features, replace(shots, images=views), method, settings, outliers)
            ctx.append(tuned.learner.ctx)
        asked.append(views.asked)
    assert [epoch for epoch, _ in asked[0]] == [0, 0, 1, 1]
    assert sorted(asked[0][0][1] + asked[0][1][1]) == list(range(6))
    assert asked == [asked[0]] * len(METHODS)
    assert all(torch.equal(start, starts[0]) for start in starts)  # the first epoch's rate is 0 here
    assert len({tuple(end.flatten().tolist()) for end in ends}) == len(METHODS)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shots_held_out_and_test_images_are_three_sets(glyph_clip: Backbone, dataset: ImageDataset, seed: int) -> None:
    """A feature depends on its picture alone, so it tells which file was encoded."""
    config = TWO_SHOTS.model_copy(update={"seed": seed})
    every = [*dataset.train, *dataset.test]
    file_of = {
        feature.numpy().tobytes(): sample
        for feature, sample in zip(encode_samples(glyph_clip, every).image_features[:, 0], every, strict=True)
    }
    assert len(file_of) == len(every)
    features, shots = prepare(glyph_clip, dataset), encode_shots(glyph_clip, dataset, config)

    def files(image_features: Tensor, labels: Tensor) -> list[Path | None]:
        found = [file_of[feature.numpy().tobytes()] for feature in image_features]
        assert [s.label for s in found] == labels.tolist()
        return [s.path for s in found]

    drawn, kept = files(shown(shots), shots.labels), files(*shots.held_out)
    tested = files(*features.test["base"])
    assert drawn == [s.path for s in few_shot(dataset.train, 2, seed) if s.label < 3]
    assert len(drawn) == len(kept) == len(tested) == 6
    assert len({*drawn, *kept, *tested}) == 18
    assert {path.parts[-3] for path in [*drawn, *kept] if path} == {"train"}
    assert [s.label for s in in_scope(dataset.test, range(3, 6))] == features.test["new"][1].tolist()


Change = Callable[[dict[str, Any]], dict[str, Any]]

CHANGES: dict[str, Change] = {
    "seed": lambda run: {"config": run["config"].model_copy(update={"seed": 6})},
    "settings": lambda run: {"config": run["config"].model_copy(update={"learning_rate": 0.5})},
    "method": lambda run: {"method": "kgcoop+dor"},
    "name of the data set": lambda run: {"dataset": replace(run["dataset"], name="other")},
    "class names": lambda run: {"dataset": replace(run["dataset"], classnames=("lion", *NAMES[1:]))},
    "template": lambda run: {"dataset": replace(run["dataset"], template="one {}.")},
    "outliers": lambda run: {"outliers": replace(run["outliers"], words=("moon", "teapot", "fork", "whale"))},
    "likeness of outliers": lambda run: {"outliers": replace(run["outliers"], similarity=(0.1, 0.2, 0.3, 0.4))},
    "features of outliers": lambda run: {"outliers": replace(run["outliers"], features=-run["outliers"].features)},
    "labels": lambda run: {"shots": replace(run["shots"], labels=run["shots"].labels.flip(0))},
    "images": lambda run: {
        "shots": replace(run["shots"], images=replace(run["shots"].images, image_features=-shown(run["shots"])[:, None]))
    },
    "held-out images": lambda run: {
        "shots": replace(run["shots"], held_out=(-run["shots"].held_out[0], run["shots"].held_out[1]))
    },
}


@pytest.fixture
def arguments(glyph_clip: Backbone, dataset: ImageDataset, outliers: OutlierPool, tmp_path: Path) -> dict[str, Any]:
    """Of `tune`."""
    return {
        "backbone": glyph_clip,
        "dataset": dataset,
        "features": prepare(glyph_clip, dataset),
        "shots": encode_shots(glyph_clip, dataset, TWO_SHOTS),
        "method": "coop+dor",
        "config": TWO_SHOTS,
        "outliers": outliers,
        "checkpoint": tmp_path / "checkpoint.safetensors",
    }


def test_a_checkpoint_fits_the_run_that_wrote_it(arguments: dict[str, Any]) -> None:
    first = tune(**arguments)
    again = tune(**arguments)
    assert torch.equal(again.learner.ctx, first.learner.ctx)
    assert again.history == first.history


@pytest.mark.parametrize("change", CHANGES)
def test_a_checkpoint_of_any_other_run_is_refused(arguments: dict[str, Any], change: str) -> None:
    tune(**arguments)
    with pytest.raises(InvalidInput, match="of another run"):
        tune(**arguments | CHANGES[change](arguments))


def test_dor_without_outliers(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="needs a vocabulary index"):
        tune(**arguments | {"outliers": None})


def test_a_learner_nobody_knows(arguments: dict[str, Any]) -> None:
    config = arguments["config"].model_copy(update={"learner": LearnerConfig(kind="nope")})
    with pytest.raises(InvalidInput, match="unknown learner 'nope'; valid: context"):
        tune(**arguments | {"config": config})


def test_nothing_to_train_on(glyph_clip: Backbone, dataset: ImageDataset) -> None:
    with pytest.raises(InvalidInput, match=r"no training image that can be read of: cat, dog, sun$"):
        encode_shots(glyph_clip, replace(dataset, train=()), TWO_SHOTS)


def test_a_class_without_a_readable_image_is_named(glyph_clip: Backbone, dataset: ImageDataset) -> None:
    """It would be trained against as a negative without an image of its own."""
    for sample in dataset.train:
        if sample.label == 1:
            spoil(sample)
    with pytest.raises(InvalidInput, match=r"no training image that can be read of: dog$"):
        encode_shots(glyph_clip, dataset, TWO_SHOTS, Images(skip_bad=True))


def test_outliers_and_a_context_for_each_class_do_not_go_together() -> None:
    config = TrainConfig(learner=LearnerConfig(class_specific=True))
    with pytest.raises(InvalidInput, match="which a class_specific context cannot"):
        check_method("kgcoop+dor", config)
    assert check_method("kgcoop", config) == {"kgcoop": 8.0}


def test_fresh_views_of_other_pictures_are_another_run(arguments: dict[str, Any], dataset: ImageDataset) -> None:
    config = TWO_SHOTS.model_copy(update={"augment": AugmentConfig(views=1)})

    def run() -> None:
        shots = encode_shots(arguments["backbone"], dataset, config, Images(fresh=True))
        tune(**arguments | {"config": config, "shots": shots})

    run()
    run()
    for sample in dataset.train:
        Image.new("RGB", (9, 9), (10 * sample.label, 0, 0)).save(str(sample.path))
    with pytest.raises(InvalidInput, match="of another run"):
        run()
