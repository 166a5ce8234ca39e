"""Requests as they are counted before an application."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.responses import Response
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from service.app import create_app, declared_paths
from service.guard.chain import guards
from service.guard.request_counts import RequestCounts
from service.guard.request_log import RequestLog
from service.metrics.requests import RequestMetrics
from service.settings import Settings

ROUTES = ("/v1/things/{name}", "/v1/classify", "/fail")


@pytest.fixture
def counted() -> tuple[TestClient, CollectorRegistry]:
    app, registry = FastAPI(), CollectorRegistry()

    @app.get("/v1/things/{name}")
    async def things(name: str) -> Response:
        return Response(status_code=int(name))

    @app.get("/v1/{path:path}")
    async def nothing(path: str) -> Response:
        return Response(status_code=404)

    @app.get("/fail")
    async def fail() -> None:
        raise ValueError("x")

    guarded = RequestCounts(RequestLog(app), ROUTES, RequestMetrics(registry))
    return TestClient(guarded, raise_server_exceptions=False), registry


def test_routes_are_counted_and_paths_are_not(counted: tuple[TestClient, CollectorRegistry]) -> None:
    client, registry = counted
    for path in ("/v1/things/200", "/v1/things/204", "/v1/things/503", "/v1/hush", "/v1/things/x/y", "/hush", "/fail"):
        client.get(path)

    def value(route: str, status: str) -> float | None:
        return registry.get_sample_value("candor_requests_total", {"route": route, "status": status})

    assert (value("/v1/things/{name}", "2xx"), value("/v1/things/{name}", "5xx")) == (2, 1)
    assert value("other", "4xx") == 3
    assert value("/fail", "5xx") == 1
    routes = {sample.labels["route"] for family in registry.collect() for sample in family.samples}
    assert routes == {*ROUTES, "other"}


def test_what_never_came_to_its_route_counts_there(counted: tuple[TestClient, CollectorRegistry]) -> None:
    """As a request without a key does."""
    client, registry = counted
    client.get("/v1/classify")  # the small application has none
    value = registry.get_sample_value("candor_requests_total", {"route": "other", "status": "4xx"})
    refused = registry.get_sample_value("candor_requests_total", {"route": "/v1/classify", "status": "4xx"})
    assert (value, refused) == (1, 0)  # its catch-all answered, which is no route of ours

    async def refuse(scope: object, receive: object, send: object) -> None:
        await Response(status_code=401)(scope, receive, send)  # type: ignore[arg-type]

    metrics = RequestMetrics(CollectorRegistry())
    TestClient(RequestCounts(RequestLog(refuse), ROUTES, metrics)).get("/v1/classify")  # type: ignore[arg-type]
    assert metrics._children["/v1/classify"].statuses["4xx"]._value.get() == 1


def test_the_guard_tells_all_declared_routes_apart() -> None:
    app = create_app(Settings())
    routes = dict(guards(Settings(), routes=declared_paths(app)))[RequestCounts]["routes"]
    assert {"/v1/classify", "/v1/label_sets/{name}", "/v1/calibration", "/metrics", "/livez", "/v1/docs"} <= routes
    assert not any(":path}" in route for route in routes)
