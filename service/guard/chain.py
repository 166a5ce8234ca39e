"""The guard as a whole: which middleware stands before which."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from limits import parse
from starlette.types import ASGIApp

from service.guard.access import METRICS, OPEN
from service.guard.authentication import RequireKey
from service.guard.body import BodyLimit, BodyTime
from service.guard.cors import Cors
from service.guard.drain import Drain, Traffic
from service.guard.envelopes import Envelopes
from service.guard.gone import CallerGone
from service.guard.headers import SecurityHeaders
from service.guard.held_bodies import HeldBodies
from service.guard.in_flight import InFlight
from service.guard.key_file import KeyFile
from service.guard.loopback import Anonymous, LoopbackOnly
from service.guard.rate import RateLimit
from service.guard.request_counts import RequestCounts
from service.guard.request_id import RequestId
from service.guard.request_log import RequestLog
from service.settings import Settings

BENTOML_PATHS = frozenset({"/", "/docs.json", "/schema.json"})

FULL_BODIES = 16  # bodies of the largest size that are held at once, or more that are smaller

Layer = tuple[type[Any], dict[str, Any]]


def guards(
    settings: Settings,
    traffic: Traffic | None = None,
    api_paths: Collection[str] = (),
    routes: Collection[str] = (),
) -> list[Layer]:
    """The middlewares, outermost first, as `Service.add_asgi_middleware` takes them.

    What names, logs and completes answers stands outside of what refuses, so that a refusal is a full answer too. The key
    is known before anything is counted by key, and before the body, a place or the model costs anything.

    Args:
        settings: of the service.
        traffic: whether the service answers; None always does.
        api_paths: of BentoML's own API routes.
        routes: of the application, as they are declared.

    Raises:
        InvalidInput: the file of keys cannot be used.
    """
    server_paths = OPEN | {METRICS} | BENTOML_PATHS | set(api_paths)
    layers: list[Layer] = [
        (RequestId, {}),
        (RequestCounts, {"routes": server_paths | set(routes)}),
        (RequestLog, {"server_paths": server_paths}),
        (CallerGone, {}),
        (SecurityHeaders, {}),
    ]
    if settings.cors_origins:
        layers.append((Cors, {"origins": settings.cors_origins}))
    layers.append((Envelopes, {}))
    if settings.keys is not None:
        layers.append((RequireKey, {"keys": KeyFile(settings.keys)}))
    else:
        layers.append((Anonymous if settings.allow_anonymous else LoopbackOnly, {"origins": settings.cors_origins}))
    if settings.rate_limit:
        layers.append((RateLimit, {"limit": parse(settings.rate_limit)}))
    layers.append((InFlight, {"most": settings.max_in_flight}))
    layers.append((BodyLimit, {"max_bytes": settings.max_body_bytes}))
    layers.append((HeldBodies, {"most": FULL_BODIES * settings.max_body_bytes}))
    layers.append((BodyTime, {"seconds": settings.body_seconds}))
    if traffic is not None:
        layers.append((Drain, {"traffic": traffic}))
    return layers


def guarded(app: ASGIApp, settings: Settings, traffic: Traffic | None = None, routes: Collection[str] = ()) -> ASGIApp:
    """An application with the guard before it, as BentoML would put it there.

    Args:
        app: what it stands before.
        settings: of the service.
        traffic: as in `guards`.
        routes: as in `guards`.
    """
    for layer, options in reversed(guards(settings, traffic, routes=routes)):
        app = layer(app, **options)
    return app
