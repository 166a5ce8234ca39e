"""The BentoML service: `bentoml serve service.service:Candor`, or `candor serve`."""

from __future__ import annotations

import bentoml

from service.app import create_app
from service.engine import Engine
from service.settings import Settings

settings = Settings()
app = create_app(settings)


@bentoml.asgi_app(app, path="/")
@bentoml.service(
    name="candor",
    workers=1,  # one process a GPU holds the model, its caches and its metrics; scale by replicas
    traffic={"timeout": 60},
    metrics={"enabled": False},  # BentoML labels its series with the raw path, which a caller can make unbounded
)
class Candor:
    """Zero-shot image classification whose confidence can be taken at its word."""

    def __init__(self) -> None:
        app.state.engine = Engine.load(settings)

    def __is_ready__(self) -> bool:
        """Readiness: the model has been loaded and run once."""
        return app.state.engine is not None
