"""Requests by route and status: bounded, there from the start, and nothing that a caller chose."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from service.metrics.requests import STATUSES, RequestMetrics

ROUTES = ("/v1/classify", "/v1/label_sets/{name}")


def made() -> tuple[RequestMetrics, CollectorRegistry]:
    registry = CollectorRegistry()
    metrics = RequestMetrics(registry)
    metrics.prepare(ROUTES)
    return metrics, registry


def requests(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    families = {family.name: family.samples for family in registry.collect()}
    return {(s.labels["route"], s.labels["status"]): s.value for s in families["candor_requests"]}


def test_every_series_is_there_at_zero() -> None:
    _, registry = made()
    assert requests(registry) == {(route, status): 0 for route in (*ROUTES, "other") for status in STATUSES}
    for route in (*ROUTES, "other"):
        assert registry.get_sample_value("candor_request_seconds_count", {"route": route}) == 0


def test_requests_count_by_route_and_class_of_status() -> None:
    metrics, registry = made()
    for status in (200, 201, 204, 304, 404, 422, 503):
        metrics.count("/v1/classify", status, 0.5)
    metrics.count("/v1/classify", 0, 9.0)
    metrics.count("/v1/secret", 404, 0.25)
    found = requests(registry)
    assert [found["/v1/classify", status] for status in STATUSES] == [3, 1, 2, 1, 1]
    assert found["other", "4xx"] == 1
    assert sum(found.values()) == 9
    timed = {"route": "/v1/classify"}
    assert registry.get_sample_value("candor_request_seconds_count", timed) == 7  # who leaves has no answer
    assert registry.get_sample_value("candor_request_seconds_sum", timed) == 3.5


def test_preparing_again_forgets_nothing() -> None:
    metrics, registry = made()
    metrics.count("/v1/classify", 200, 0.5)
    metrics.prepare(["/v1/classify", "/new"])
    assert requests(registry)["/v1/classify", "2xx"] == 1
    assert requests(registry)["/new", "2xx"] == 0


@given(st.text(), st.integers(200, 599))
def test_no_path_makes_a_series(path: str, status: int) -> None:
    metrics, registry = made()
    before = set(requests(registry))
    metrics.count(path, status, 0.1)
    assert set(requests(registry)) == before
