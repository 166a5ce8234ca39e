"""The guard as a whole, before a small application."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from pydantic import ValidationError
from starlette.testclient import TestClient

from service.guard.access import OPEN
from service.guard.chain import guarded
from service.guard.drain import Traffic
from service.guard.exchange import exchange_of
from service.guard.log import SafeJson
from service.settings import Settings

SECRET = "hush-hush"


def small_app() -> FastAPI:
    app, router = FastAPI(openapi_url=None), APIRouter()

    @router.api_route("/v1/things/{name}", methods=["GET", "POST"])
    async def things(name: str, request: Request) -> dict[str, int]:
        exchange = exchange_of(request.scope)
        exchange.artifact, exchange.images, exchange.labels = "cats@1", 2, 3
        return {"bytes": len(await request.body())}

    @router.get("/v1/fail/{name}")
    async def fail(name: str) -> None:
        raise ValueError(f"no {name}")

    @router.get("/livez")
    async def livez() -> None: ...

    app.include_router(router)
    return app


def client(**settings: Any) -> TestClient:
    return TestClient(
        guarded(small_app(), Settings(**settings)),
        base_url="http://localhost",
        client=("127.0.0.1", 1),
        raise_server_exceptions=False,
    )


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO)
    return lambda: [json.loads(SafeJson().format(record)) for record in caplog.records if record.name.startswith("candor")]


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer candor_{name}"}


def test_a_key_is_asked_for_and_its_role(key_path: Path, counted: list[str]) -> None:
    with client(keys=key_path) as asking:
        bare = asking.get("/v1/things/a")
        assert (bare.status_code, bare.headers["www-authenticate"]) == (401, 'Bearer realm="candor"')
        for headers in (bearer("phone"), {"X-API-Key": "candor_phone"}, {"Authorization": "bearer  candor_phone"}):
            assert asking.get("/v1/things/a", headers=headers).status_code == 200
        both = {"Authorization": "Bearer hf_of_someone_else", "X-API-Key": "candor_phone"}
        assert asking.get("/v1/things/a", headers=both).status_code == 200
        wrong = (
            "Basic candor_phone",
            "candor_phone",
            "Bearer",
            "Bearer candor_phon",
            "Bearer candor_phonE",
            "Bearer ä".encode(),
        )
        for value in wrong:
            assert asking.get("/v1/things/a", headers={"Authorization": value}).status_code == 401, value
        assert asking.get("/v1/things/a", params={"api_key": "candor_phone"}).status_code == 401
        scraper = asking.get("/v1/things/a", headers=bearer("scraper"))
        assert (scraper.status_code, scraper.json()["error"]["code"]) == (403, "forbidden")
        assert asking.post("/v1/artifacts/x/activate", headers=bearer("phone")).status_code == 403
        assert asking.post("/v1/artifacts/x/activate", headers=bearer("boss")).status_code == 404
        assert asking.get("/livez").status_code == 200
    assert set(counted) == {"unauthorized", "forbidden", "not_found"}


def test_keys_serve_other_machines_and_proxies(key_path: Path) -> None:
    asking = TestClient(guarded(small_app(), Settings(keys=key_path)), base_url="http://a.example", client=("8.8.8.8", 1))
    headers = {**bearer("phone"), "X-Forwarded-For": "9.9.9.9"}
    assert asking.get("/v1/things/a", headers=headers).status_code == 200


def test_without_keys_other_machines_are_served_only_when_told_to() -> None:
    for anonymous, expected in ((False, 403), (True, 200)):
        app = guarded(small_app(), Settings(allow_anonymous=anonymous))
        asking = TestClient(app, client=("8.8.8.8", 1))
        assert asking.get("/v1/things/a").status_code == expected
        assert asking.post("/v1/artifacts/x/activate").status_code == 403


@pytest.mark.parametrize("path", ["/v1/things/a", "/nowhere", "/livez", "/v1/fail/x"])
def test_every_answer_carries_the_headers(path: str) -> None:
    with client() as asking:
        headers = asking.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert re.fullmatch("[0-9a-f]{24}", headers["x-request-id"])
    assert "server" not in headers


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 64])
def test_a_plain_request_id_is_taken_over(given: str) -> None:
    with client() as asking:
        assert asking.get("/nowhere", headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "a;b", "ä".encode(), "<script>"])
def test_another_is_replaced(given: Any) -> None:
    with client() as asking:
        found = asking.get("/nowhere", headers={"X-Request-ID": given}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{24}", found)


def test_a_request_is_one_line_without_anything_the_caller_wrote(key_path: Path, lines: Any) -> None:
    with client(keys=key_path) as asking:
        headers = {**bearer("phone"), "X-Request-ID": "r1", "Cookie": SECRET, "User-Agent": SECRET, "Referer": SECRET}
        asking.post(f"/v1/things/{SECRET}?q={SECRET}", content=SECRET, headers=headers)
    (line,) = lines()
    assert line.pop("milliseconds") > 0
    assert line.pop("time").startswith("20")
    assert line == {
        "level": "INFO",
        "logger": "candor.requests",
        "message": "request",
        "request_id": "r1",
        "method": "POST",
        "route": "/v1/things/{name}",
        "status": 200,
        "bytes_in": len(SECRET),
        "key": "phone",
        "artifact": "cats@1",
        "images": 2,
        "labels": 3,
    }


@pytest.mark.parametrize(
    ("method", "path", "route", "code"),
    [
        ("GET", f"/{SECRET}", "other", "not_found"),
        ("GET", f"/v1/fail/{SECRET}", "/v1/fail/{name}", "internal"),
        (SECRET, "/v1/things/x", "/v1/things/{name}", "method_not_allowed"),
        ("GET", "/docs.json", "/docs.json", "not_found"),
    ],
)
def test_neither_does_a_refusal(method: str, path: str, route: str, code: str, lines: Any) -> None:
    with client() as asking:
        asking.request(method, path, headers={"Authorization": f"Bearer {SECRET}"})
    found = lines()
    assert SECRET not in json.dumps(found)
    assert (found[-1]["route"], found[-1]["code"]) == (route, code)
    assert [line["logger"] for line in found] == ["candor.service"] * (code == "internal") + ["candor.requests"]


def test_cors_is_off_and_then_allows_what_it_is_told(key_path: Path) -> None:
    preflight = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, x-api-key, x-request-id",
    }
    with client(keys=key_path) as asking:
        off = asking.options("/v1/things/a", headers=preflight)
        assert off.status_code == 401
        assert "access-control-allow-origin" not in off.headers
    with client(keys=key_path, cors_origins=("https://app.example",), rate_limit="1/minute", max_body_bytes=1024) as asking:
        on = asking.options("/v1/things/a", headers=preflight)
        assert (on.status_code, on.headers["access-control-allow-origin"]) == (200, "https://app.example")
        other = asking.options("/v1/things/a", headers={**preflight, "Origin": "https://evil.example"})
        assert other.status_code == 400
        assert other.json()["error"]["message"] == "Disallowed CORS origin; see CANDOR_CORS_ORIGINS"
        assert "access-control-allow-origin" not in other.headers
        origin = {"Origin": "https://app.example"}
        bare = asking.get("/v1/things/a", headers=origin)
        large = asking.post("/v1/things/a", headers=origin | bearer("phone"), content=b"x" * 1025)
        often = asking.post("/v1/things/a", headers=origin | bearer("phone"))
        assert [answer.status_code for answer in (bare, large, often)] == [401, 413, 429]
        for answer in (bare, large, often):
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
            assert answer.headers["access-control-expose-headers"] == "X-Request-ID, X-Candor-Artifact, Retry-After"
            assert "Origin" in answer.headers["vary"]
        assert "access-control-allow-origin" not in asking.get("/livez", headers={"Origin": "https://evil.example"}).headers


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        ("https://a.example", ("https://a.example",)),
        ("https://a.example, http://b.example:8000", ("https://a.example", "http://b.example:8000")),
        ('["https://a.example", "*"]', ("https://a.example", "*")),
    ],
)
def test_origins_are_a_list_or_words_with_commas(
    text: str, origins: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANDOR_CORS_ORIGINS", text)
    assert Settings().cors_origins == origins


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CORS_ORIGINS", "https://a.example/"),
        ("CORS_ORIGINS", "a.example"),
        ("CORS_ORIGINS", "[1]"),
        ("CORS_ORIGINS", "["),
        ("RATE_LIMIT", "often"),
        ("BODY_SECONDS", "0"),
        ("BODY_SECONDS", "inf"),
        ("MAX_IN_FLIGHT", "0"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"CANDOR_{name}", value)
    with pytest.raises(ValidationError):
        Settings()


def test_what_drains_answers_the_known_with_503_and_the_unknown_with_401(key_path: Path) -> None:
    traffic = Traffic()
    traffic.state = "draining"
    with TestClient(guarded(small_app(), Settings(keys=key_path), traffic)) as asking:
        assert asking.get("/v1/things/a").status_code == 401
        drained = asking.get("/v1/things/a", headers=bearer("phone"))
    assert (drained.status_code, drained.headers["retry-after"], drained.headers["connection"]) == (503, "5", "close")


def test_a_web_socket_does_not_pass() -> None:
    from starlette.websockets import WebSocketDisconnect

    with client() as asking, pytest.raises(WebSocketDisconnect) as closed, asking.websocket_connect("/v1/things/a"):
        pass
    assert closed.value.code == 1008


def test_the_open_routes_are_the_three_for_orchestrators() -> None:
    assert sorted(OPEN) == ["/healthz", "/livez", "/readyz"]
