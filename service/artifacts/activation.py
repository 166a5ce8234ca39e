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

log = logging.getLogger("candor.service")

WARM_SECONDS: float = 60  # that kept label sets may hold up a start or a switch


class Activator:
    """Activates artifacts, one at a time. For one event loop.

    Args:
        settings: of the service.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._busy = settings, False

    async def activate(self, engine: Engine, wanted: str) -> Entry:
        """Load, check and warm up an artifact, and answer with it from then on. Whatever fails, the old one goes on.

        Args:
            engine: that answers.
            wanted: tag or name.

        Returns:
            The entry that is active now.

        Raises:
            ApiError: 404 where there is none; 409 while another activation is under way, or where it does not fit the
                weights or the vocabulary; 422 where it is damaged.
        """
        if self._busy:
            raise ApiError(409, "another activation is under way; try again when it has ended")
        self._busy = True
        switch = asyncio.get_running_loop().create_task(self._switch(engine, wanted))
        return await asyncio.shield(switch)  # a caller who leaves does not leave half a switch behind

    async def _switch(self, engine: Engine, wanted: str) -> Entry:
        try:
            entry, serving = await asyncio.to_thread(_load, self._settings, wanted, engine.serving)
            await warm_label_sets(engine, serving)
            engine.activate(serving)
            log.info("serving %s", serving.tag)
            return entry
        finally:
            self._busy = False


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
