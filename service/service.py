"""The BentoML service: `bentoml serve service.service:Candor`, or `candor serve`."""

from __future__ import annotations

import asyncio
from typing import Any

import bentoml
from bentoml._internal.server.http import traffic

from candor.errors import CandorError
from service.app import create_app, declared_paths
from service.artifacts.activation import Activator, warm_label_sets
from service.engine import Engine
from service.guard.chain import guards
from service.guard.drain import Traffic
from service.guard.last_resort import LastResort
from service.guard.log import configure_logs
from service.lifecycle import Lifecycle
from service.memory import give_back
from service.native import ROUTE, JsonOnly, classify_items
from service.noted_batch import NotedBatch
from service.pace import steady
from service.settings import load_settings
from service.siblings import Siblings, open_shared_directory

try:
    settings = load_settings()
    siblings = Siblings.of_this_server()
    lifecycle = Lifecycle(Traffic(), settings.drain_seconds, siblings)
    app = create_app(settings)
    layers = guards(settings, lifecycle.traffic, [ROUTE], declared_paths(app))
except CandorError as error:  # a setting that makes no sense, or a file of keys that cannot be used
    raise SystemExit(f"candor: {error}") from None
LAST_RESORT = settings.body_seconds + settings.timeout_seconds + 600  # seconds; all of ours come first
# BentoML's own keeps a timer of every request until it has run out
traffic.TimeoutMiddleware = LastResort  # type: ignore[misc, assignment]


async def load() -> None:
    """Load what the settings name, or what the other workers have activated since, and encode the kept label sets."""
    engine = await asyncio.to_thread(Engine.load, settings)
    await warm_label_sets(engine, engine.serving)
    activator = Activator(settings, siblings)
    await activator.catches_up(engine)
    steady()
    if engine.feedback:
        lifecycle.at_end = engine.feedback.store.close
    app.state.engine = engine
    app.state.following = asyncio.create_task(activator.follow(engine))
    app.state.giving_back = asyncio.create_task(give_back())


@bentoml.asgi_app(app, path="/")
@bentoml.service(
    name="candor",
    workers=settings.workers,
    traffic={"timeout": LAST_RESORT},
    logging={"access": {"enabled": False}},  # BentoML logs raw paths; service.guard logs requests
    metrics={"enabled": False},  # BentoML labels its series with the raw path, which a caller can make unbounded
)
class Candor:
    """Zero-shot image classification whose confidence can be taken at its word."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def prepare() -> None:
        """Before the workers are started, in the process that starts them."""
        open_shared_directory()

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Begin to load. A single worker takes connections meanwhile, so that /livez answers.

        One of several takes none before it is ready: the others answer them.
        """
        configure_logs(settings.log_level)
        loading = lifecycle.start(load)
        if settings.workers > 1:
            await loading

    async def __is_ready__(self) -> bool:
        """Readiness: the model has been loaded and run once, and the service is not ending."""
        return lifecycle.traffic.state == "ready"

    # BentoML wants 2
    @bentoml.api(batchable=True, max_batch_size=max(2, settings.max_images), max_latency_ms=60_000)  # type: ignore[untyped-decorator]
    async def classify_batch(self, items: list[Any]) -> list[dict[str, Any]]:
        """BentoML's native batch: items of POST /v1/classify, each answered or refused by itself."""
        return await classify_items(app.state.engine, settings, items)


for layer, options in layers:
    Candor.add_asgi_middleware(layer, **options)  # type: ignore[attr-defined]
Candor.add_asgi_middleware(JsonOnly, settings=settings)  # type: ignore[attr-defined]  # innermost: what is added first comes first
Candor.add_asgi_middleware(NotedBatch)  # type: ignore[attr-defined]
