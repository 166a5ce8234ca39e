"""The switch to another artifact: whole or not at all, with the weights that are there, warm before it counts."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Callable, Coroutine
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from candor.clip import PromptArtifact
from candor.clip.backbone import Backbone, load_backbone
from service.artifacts import activation
from service.artifacts.activation import Activator
from service.artifacts.catalogue import Entry
from service.artifacts.loader import serve_classifier
from service.classifier import Classifier
from service.engine import Engine
from service.errors import ApiError
from service.labels.spec import LabelSetSpec
from service.labels.store import LabelSetStore
from service.metrics import ServiceMetrics
from service.settings import Settings
from vocab_index.index import VocabularyIndex
from vocab_index.sources.words import collect

Save = Callable[..., PromptArtifact]


@pytest.fixture
def index(tiny_clip: Backbone) -> VocabularyIndex:
    return VocabularyIndex.build(tiny_clip, collect("x", ["cat", "sun", "anchor", "tree"]))


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings(artifacts=folder, max_batch=8, threads=1)


@pytest.fixture
def engine(tiny_clip: Backbone, index: VocabularyIndex, settings: Settings, tmp_path: Path) -> Engine:
    serving = serve_classifier(Classifier(tiny_clip, index=index), settings)
    return Engine(settings, serving, ServiceMetrics(CollectorRegistry()), LabelSetStore(tmp_path / "state"))


def activated(engine: Engine, settings: Settings, wanted: str) -> Entry:
    return asyncio.run(Activator(settings).activate(engine, wanted))


def refused(engine: Engine, settings: Settings, wanted: str) -> ApiError:
    """The error; what was served goes on."""
    before = engine.serving
    with pytest.raises(ApiError) as caught:
        activated(engine, settings, wanted)
    assert engine.serving is before
    return caught.value


def test_weights_and_vocabulary_are_used_again(
    engine: Engine, settings: Settings, save: Save, tiny_clip: Backbone, index: VocabularyIndex
) -> None:
    artifact = save("one")
    assert activated(engine, settings, artifact.tag).path == artifact.path
    assert engine.serving.tag == artifact.tag
    assert engine.serving.classifier.backbone is tiny_clip
    assert engine.serving.classifier.vocabulary is index
    assert activated(engine, settings, "zero-shot").source == "zero-shot"
    assert engine.serving.tag == "zero-shot"
    assert engine.serving.classifier.backbone is tiny_clip


def test_an_unknown_one_is_a_404_that_names_the_known(engine: Engine, settings: Settings, save: Save) -> None:
    tag = save("one").tag
    error = refused(engine, settings, "two" * 100)
    assert (error.status, str(error)) == (404, f"no artifact {('two' * 100)[:100]!r}; valid: {tag}, zero-shot")


def test_a_damaged_one_is_a_422_that_says_where(
    engine: Engine, settings: Settings, save: Save, damage: Callable[[PromptArtifact], None], folder: Path
) -> None:
    artifact = save("one")
    damage(artifact)
    error = refused(engine, settings, artifact.tag)
    assert error.status == 422
    assert str(error).startswith(
        f"the artifact is damaged: one/prompt.safetensors: expected sha256 {artifact.config.prompt_sha256}"
    )
    (artifact.path / "config.json").write_text("{")
    error = refused(engine, settings, "one")
    assert (error.status, str(folder) in str(error)) == (422, False)
    assert str(error).startswith("the artifact is damaged: one/config.json: expected")


def test_other_weights_than_it_was_tuned_on_are_a_409(engine: Engine, settings: Settings, save: Save) -> None:
    artifact = save("one")
    config = artifact.path / "config.json"
    config.write_text(config.read_text().replace(artifact.config.backbone.sha256, "0" * 64))
    error = refused(engine, settings, "one")
    assert error.status == 409
    assert str(error).startswith("the artifact does not fit: one: expected backbone glyph-clip with weights 000000000000")


def test_an_artifact_of_other_weights_needs_an_index_of_its_own(
    engine: Engine, settings: Settings, save: Save, glyph_clip: Backbone, index: VocabularyIndex, tmp_path: Path
) -> None:
    artifact = save("other", backbone=glyph_clip)
    index.save(tmp_path / "index")
    error = refused(engine, settings.model_copy(update={"index": tmp_path / "index"}), artifact.tag)
    assert error.status == 409
    assert str(error).startswith("the artifact does not fit: index: expected an index of glyph-clip with weights ")
    assert activated(engine, settings, artifact.tag).tag == artifact.tag  # without an index there is nothing to fit
    assert engine.serving.classifier.backbone.digest == glyph_clip.digest
    assert engine.serving.classifier.vocabulary is None


def test_one_at_a_time(engine: Engine, settings: Settings, save: Save) -> None:
    one, two = save("one").tag, save("two", seed=2).tag

    async def both() -> list[Entry | BaseException]:
        activator = Activator(settings)
        done = await asyncio.gather(
            activator.activate(engine, one), activator.activate(engine, two), return_exceptions=True
        )
        with pytest.raises(ApiError, match="no artifact"):
            await activator.activate(engine, "three")
        return [*done, await activator.activate(engine, two)]  # neither a success nor a failure keeps the door shut

    first, second, third = asyncio.run(both())
    assert isinstance(second, ApiError)
    assert (second.status, str(second)) == (409, "another activation is under way; try again when it has ended")
    assert [e.tag for e in (first, third) if isinstance(e, Entry)] == [one, two]


def test_a_caller_who_leaves_does_not_stop_it(engine: Engine, settings: Settings, save: Save) -> None:
    tag = save("one").tag

    async def leave() -> None:
        activator = Activator(settings)
        caller = asyncio.create_task(activator.activate(engine, tag))
        await asyncio.sleep(0.001)
        caller.cancel()
        while engine.serving.tag != tag:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(leave(), 60))


def test_kept_label_sets_are_encoded_before_the_switch(
    engine: Engine, settings: Settings, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.label_sets.put("signs", LabelSetSpec(labels=("sun", "moon")))
    engine.label_sets.put("bad", LabelSetSpec(labels=("x " * 100, "y")))  # fits no text tower: must not stop the switch
    tag = save("one").tag
    encoded: list[tuple[str, str]] = []
    plain = Classifier.encode_labels

    def noted(self: Classifier, names: tuple[str, ...], *more: Any, **options: Any) -> Any:
        encoded.extend((self.tag, engine.serving.tag) for name in names if name == "moon")
        return plain(self, names, *more, **options)

    monkeypatch.setattr(Classifier, "encode_labels", noted)
    activated(engine, settings, tag)
    assert encoded == [(tag, "zero-shot")]
    asyncio.run(_ask(engine.serving.labels.label_set(("sun", "moon"), None)))
    assert len(encoded) == 1


def test_kept_label_sets_hold_a_start_up_for_a_while_only(
    engine: Engine, settings: Settings, save: Save, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b", "c"):
        engine.label_sets.put(name, LabelSetSpec(labels=(f"sun {name}", f"moon {name}")))
    tag = save("one").tag
    plain = Classifier.encode_labels

    def slow(self: Classifier, names: tuple[str, ...], *more: Any, **options: Any) -> Any:
        if names[0] == "sun b":
            time.sleep(1)
        return plain(self, names, *more, **options)

    monkeypatch.setattr(Classifier, "encode_labels", slow)
    monkeypatch.setattr(activation, "WARM_SECONDS", 0.5)
    with caplog.at_level("WARNING", "candor.service"):
        assert activated(engine, settings, tag).tag == tag
    assert engine.serving.tag == tag
    assert [record.message for record in caplog.records] == [
        "2 of 3 kept label sets were not encoded within 0.5 s; each is when it is first asked for"
    ]


async def _encoded(engine: Engine) -> object:
    picture = BytesIO()
    Image.new("RGB", (40, 40), "red").save(picture, "PNG")
    model = engine.serving.model
    return await model.image_features([await model.pixels(picture.getvalue(), "image")])


async def _ask(question: Coroutine[Any, Any, object]) -> None:
    await question


def test_the_old_one_goes_when_its_last_request_has_ended(engine: Engine, settings: Settings, save: Save) -> None:
    request = engine.serving  # as a request takes it
    asyncio.run(_ask(request.labels.label_set(("sun", "moon"), None)))
    old = [weakref.ref(part) for part in (request, request.labels, request.model)]
    gc.collect()
    gc.disable()  # memory goes at once, not whenever the collector looks
    try:
        activated(engine, settings, save("one").tag)
        assert [part() is None for part in old] == [False, False, False]
        del request
        assert [part() is None for part in old] == [True, True, True]
    finally:
        gc.enable()


def test_weights_that_nobody_uses_any_more_go_too(settings: Settings, save: Save, glyph_clip: Backbone) -> None:
    first = load_backbone("glyph-clip", "random")
    engine = Engine(settings, serve_classifier(Classifier(first), settings), ServiceMetrics(CollectorRegistry()))
    old = weakref.ref(first.model)
    asyncio.run(_ask(_encoded(engine)))
    other = save("other", backbone=glyph_clip)
    del first
    gc.collect()
    gc.disable()
    try:
        activated(engine, settings, other.tag)
        assert old() is None
    finally:
        gc.enable()
