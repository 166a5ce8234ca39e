"""The switch to another artifact while requests are answered."""

from __future__ import annotations

import asyncio
import logging

from candor.clip.artifact import load_artifact
from candor.errors import CandorError, InvalidInput
from service.artifacts.catalogue import Entry, find, without_folders
from service.artifacts.loader import load_serving
from service.engine import Engine
from service.errors import ApiError
from service.serving import Serving
from service.settings import Settings
from service.siblings import Siblings

log = logging.getLogger("candor.service")

WARM_SECONDS: float = 60  # that kept label sets may hold up a start or a switch
FOLLOW_SECONDS: float = 0.5  # between looks at what the other workers were told
RETRY_SECONDS: float = 10  # until a worker that could not follow tries again


class Activator:
    """Activates artifacts, one at a time, and follows the other workers of the server. For one event loop.

    Args:
        settings: of the service.
        siblings: the other workers; None where there are none.
    """

    def __init__(self, settings: Settings, siblings: Siblings | None = None) -> None:
        self._settings, self._siblings = settings, siblings or Siblings(None)

    async def activate(self, engine: Engine, wanted: str) -> Entry:
        """Load, check and warm up an artifact, and answer with it from then on. Whatever fails, the old one goes on.

        The other workers are told then, and switch when they have loaded it too.

        Args:
            engine: that answers.
            wanted: tag or name.

        Returns:
            The entry that is active now.

        Raises:
            ApiError: 404 where there is none; 409 while another activation is under way, or where it does not fit the
                weights or the vocabulary; 422 where it is damaged; 503 where the other workers cannot be told.
        """
        if engine.switching.locked():
            raise ApiError(409, "another activation is under way; try again when it has ended")
        await engine.switching.acquire()  # at once: it is free
        switch = asyncio.get_running_loop().create_task(self._activate(engine, wanted))
        return await asyncio.shield(switch)  # a caller who leaves does not leave half a switch behind

    async def catch_up(self, engine: Engine) -> None:
        """Switch to what another worker has activated, where that is not what answers here.

        Args:
            engine: that answers here.

        Raises:
            ApiError: as `activate`.
        """
        if not self._behind(engine):
            return
        async with engine.switching:
            if wanted := self._behind(engine):  # else it was activated here meanwhile
                _, serving = await self._ready(engine, wanted)
                _answer_with(engine, serving)

    async def follow(self, engine: Engine) -> None:
        """Catch up for as long as the process runs. One that cannot goes on with what it has, and tries again.

        Args:
            engine: that answers here.
        """
        while True:
            await asyncio.sleep(FOLLOW_SECONDS if await self.catches_up(engine) else RETRY_SECONDS)

    async def catches_up(self, engine: Engine) -> bool:
        """As `catch_up`; but where it fails, what answers here goes on, and the log says so.

        Args:
            engine: that answers here.

        Returns:
            Whether it answers as the other workers do.
        """
        try:
            await self.catch_up(engine)
        except Exception as error:  # whatever it is, requests are answered, and the next activation is followed
            log.error("cannot follow the other workers, and goes on with %s: %s", engine.serving.tag, error)
            return False
        return True

    def _behind(self, engine: Engine) -> str | None:
        """The tag that the other workers answer with; None where that is what answers here."""
        told = self._siblings.active()
        return None if told == engine.serving.tag else told

    async def _activate(self, engine: Engine, wanted: str) -> Entry:
        try:
            entry, serving = await self._ready(engine, wanted)
            try:
                await asyncio.to_thread(self._siblings.tell_active, serving.tag)
            except OSError as error:
                raise ApiError(503, f"the other workers cannot be told of it: {error.strerror}") from error
            _answer_with(engine, serving)
            return entry
        finally:
            engine.switching.release()

    async def _ready(self, engine: Engine, wanted: str) -> tuple[Entry, Serving]:
        entry, serving = await asyncio.to_thread(_load, self._settings, wanted, engine.serving)
        await warm_label_sets(engine, serving)
        return entry, serving


def _answer_with(engine: Engine, serving: Serving) -> None:
    engine.activate(serving)
    log.info("serving %s", serving.tag)


async def warm_label_sets(engine: Engine, serving: Serving) -> None:
    """Encode the kept label sets, so that their next caller does not wait; as many as there is time for.

    Args:
        engine: that keeps them.
        serving: what will answer.
    """
    names, done = engine.label_sets.names(), 0
    try:
        async with asyncio.timeout(WARM_SECONDS):
            for name in names:
                await _warm(engine, serving, name)
                done += 1
    except TimeoutError:
        text = "%d of %d kept label sets were not encoded within %g s; each is when it is first asked for"
        log.warning(text, len(names) - done, len(names), WARM_SECONDS)


async def _warm(engine: Engine, serving: Serving, name: str) -> None:
    try:
        spec = engine.label_sets.get(name)
        label_set = await serving.labels.label_set(spec.labels, spec.templates)
        await serving.labels.view(label_set)
    except (ApiError, CandorError) as error:  # its callers will be told; the others are served
        log.warning("a kept label set does not fit %s: %s", serving.tag, type(error).__name__)


def _load(settings: Settings, wanted: str, running: Serving) -> tuple[Entry, Serving]:
    try:
        entry = find(settings, wanted)
    except InvalidInput as error:
        raise ApiError(404, str(error)) from error
    if entry.path is None:
        return entry, load_serving(settings, None, running)
    try:
        artifact = load_artifact(entry.path)
    except (CandorError, OSError) as error:
        raise ApiError(422, f"the artifact is damaged: {without_folders(str(error), entry.path)}") from error
    try:
        return entry, load_serving(settings, artifact, running)
    except CandorError as error:
        raise ApiError(
            409, f"the artifact does not fit: {without_folders(str(error), entry.path, settings.index)}"
        ) from error
