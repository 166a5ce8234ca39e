from __future__ import annotations

import pytest

from service.guard.access import may

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
