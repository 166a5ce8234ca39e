"""Workers of one server answer with one artifact, whichever of them was asked to activate it."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from candor.clip import PromptArtifact
from candor.clip.backbone import Backbone
from service.artifacts import activation
from service.artifacts.activation import Activator
from service.artifacts.loader import serve_classifier
from service.classifier import Classifier
from service.engine import Engine
from service.errors import ApiError
from service.labels.store import LabelSetStore
from service.metrics import ServiceMetrics
from service.settings import Settings
from service.siblings import Siblings

Save = Callable[..., PromptArtifact]
Start = Callable[[], tuple[Engine, Activator]]


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings(artifacts=folder, max_batch=8, threads=1)


@pytest.fixture
def start(tiny_clip: Backbone, settings: Settings, tmp_path: Path) -> Start:
    """A worker of a server."""
    server = tmp_path / "server"
    server.mkdir()

    def worker() -> tuple[Engine, Activator]:
        serving = serve_classifier(Classifier(tiny_clip), settings)
        engine = Engine(settings, serving, ServiceMetrics(CollectorRegistry()), LabelSetStore(None))
        return engine, Activator(settings, Siblings(server))

    return worker


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


def test_the_others_follow_and_so_does_one_that_starts_later(start: Start, save: Save) -> None:
    one, two = save("one", seed=1).tag, save("two", seed=2).tag
    (a, activate_a), (b, activate_b) = start(), start()

    async def run() -> None:
        await activate_b.catch_up(b)
        assert b.serving.tag == "zero-shot"  # nobody has activated anything
        await activate_a.activate(a, "one")  # by its name; the others are told its tag
        assert (a.serving.tag, b.serving.tag) == (one, "zero-shot")
        await activate_b.catch_up(b)
        assert b.serving.tag == one
        late, activate_late = start()
        await activate_late.catch_up(late)
        assert late.serving.tag == one
        await activate_b.activate(b, two)
        for engine, activator in ((a, activate_a), (late, activate_late)):
            await activator.catch_up(engine)
            assert engine.serving.tag == two

    asyncio.run(run())


def test_two_activations_at_once_end_in_one_artifact(start: Start, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation, "FOLLOW_SECONDS", 0.01)
    tags = [save(name, seed=seed).tag for seed, name in enumerate(("one", "two"))]
    (a, activate_a), (b, activate_b) = start(), start()

    async def run() -> None:
        following = [asyncio.create_task(each.follow(engine)) for engine, each in ((a, activate_a), (b, activate_b))]
        for turn in range(6):
            activated = await asyncio.gather(
                activate_a.activate(a, tags[turn % 2]), activate_b.activate(b, tags[1 - turn % 2]), return_exceptions=True
            )
            assert [e for e in activated if isinstance(e, BaseException) and "under way" not in str(e)] == []
            await until(lambda: a.serving.tag == b.serving.tag and not a.switching.locked() and not b.switching.locked())
            tag = a.serving.tag
            await asyncio.sleep(0.1)
            assert (a.serving.tag, b.serving.tag) == (tag, tag)
            assert Siblings(activate_a._siblings._directory).active() == tag
        for task in following:
            task.cancel()

    asyncio.run(run())


def test_one_that_cannot_follow_says_so_goes_on_and_tries_again(
    start: Start, save: Save, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(activation, "FOLLOW_SECONDS", 0.01)
    monkeypatch.setattr(activation, "RETRY_SECONDS", 0.05)
    tag = save("one").tag
    (a, activate_a), (b, activate_b) = start(), start()

    async def run() -> None:
        await activate_a.activate(a, tag)
        shutil.move(folder / "one", folder.parent / "away")
        following = asyncio.create_task(activate_b.follow(b))
        with caplog.at_level(logging.ERROR):
            await until(lambda: len(caplog.records) > 1)
        assert b.serving.tag == "zero-shot"
        assert f"no artifact '{tag}'" in caplog.messages[0]
        shutil.move(folder.parent / "away", folder / "one")
        await until(lambda: b.serving.tag == tag)
        following.cancel()

    asyncio.run(run())


def test_what_the_others_cannot_be_told_is_not_activated(start: Start, save: Save, tmp_path: Path) -> None:
    tag = save("one").tag
    engine, activator = start()
    shutil.rmtree(tmp_path / "server")
    (tmp_path / "server").write_text("in the way")
    with pytest.raises(ApiError, match="cannot be told") as caught:
        asyncio.run(activator.activate(engine, tag))
    assert caught.value.status == 503
    assert engine.serving.tag == "zero-shot"
    assert not engine.switching.locked()


def test_one_that_starts_again_and_cannot_catch_up_starts_with_what_it_has(
    start: Start, save: Save, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tag = save("one").tag
    (a, activate_a), (b, activate_b) = start(), start()

    async def run() -> None:
        await activate_a.activate(a, tag)
        shutil.move(folder / "one", folder.parent / "away")
        with caplog.at_level(logging.ERROR):
            assert not await activate_b.catches_up(b)
        assert b.serving.tag == "zero-shot"
        assert f"no artifact '{tag}'" in caplog.text
        shutil.move(folder.parent / "away", folder / "one")
        assert await activate_b.catches_up(b)
        assert b.serving.tag == tag

    asyncio.run(run())
