from __future__ import annotations

import pytest

from service.guard.access import DOCS, OPEN, may, needs_key

SWITCH = "/v1/artifacts/cats@1/activate"


@pytest.mark.parametrize(
    ("method", "path", "who"),
    [
        ("POST", "/v1/classify", {"api", "admin"}),
        ("GET", "/v1/artifacts", {"api", "admin"}),
        ("PUT", "/v1/label_sets/pets", {"api", "admin"}),
        ("POST", "/classify_batch", {"api", "admin"}),
        ("GET", "/v1/docs", {"api", "admin"}),
        ("GET", "/nowhere", {"api", "admin"}),
        ("GET", "/metrics", {"metrics", "admin"}),
        ("HEAD", "/metrics", {"metrics", "admin"}),
        ("POST", "/metrics", {"admin"}),
        ("GET", "/v1/calibration", {"metrics", "admin"}),
        ("POST", "/v1/calibration", {"admin"}),
        ("GET", "/v1/calibration/", {"api", "admin"}),  # no such route
        ("GET", "/metrics/", {"api", "admin"}),  # no such route
        ("POST", SWITCH, {"admin"}),
        ("DELETE", "/v1/artifacts/x", {"admin"}),
        ("post", SWITCH, {"admin"}),
        ("SOMETHING", SWITCH, {"admin"}),
        ("POST", "/V1/Artifacts/x/activate", {"admin"}),
        ("POST", "//v1//artifacts/x/activate", {"admin"}),
        ("POST", "/v1/./artifacts/x/activate", {"admin"}),
        ("POST", "/v1/classify/../artifacts/x/activate", {"admin"}),
        ("POST", "/v1/artifacts/", {"admin"}),
        ("POST", "/v1/artifactsx", {"api", "admin"}),
    ],
)
def test_who_may_do_what(method: str, path: str, who: set[str]) -> None:
    assert {role for role in ("api", "admin", "metrics") if may(role, method, path)} == who


def test_without_a_key_the_page_for_browsers_can_be_read_and_nothing_else_done() -> None:
    assert not any(needs_key("GET", path) for path in DOCS | OPEN)
    assert {"/v1/docs", "/v1/openapi.json"} < DOCS
    for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get", "GETS"):
        assert all(needs_key(method, path) for path in DOCS), method


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/v1/docs/", "//v1/docs", "/v1//docs", "/V1/docs", "/v1/docs\0", "/v1/docs?", "/v1/docs-files"),
        *(
            "/v1/docs-files/",
            "/v1/docs-files/x",
            "/v1/docs-files/../artifacts",
            "/v1/docs-files/swagger-ui.css/../../artifacts",
        ),
        *(
            "/v1/docs/../artifacts",
            "/v1/openapi.json/../artifacts",
            "/v1/artifacts",
            "/docs.json",
            "/metrics",
            "/livez/docs",
        ),
    ],
)
def test_a_path_that_looks_like_it_needs_a_key(path: str) -> None:
    assert needs_key("GET", path)
