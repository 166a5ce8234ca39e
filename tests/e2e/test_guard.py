"""Keys, limits and logs of the real service, asked by hand over a socket where a client would tidy the request up."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.server import running_service
from glyph_world.render import Scene, render

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECRET = "hushhush"
PATHS = [
    *("/", "/metrics", "/docs.json", "/schema.json", "/v1/docs-files/swagger-ui.js", "/v1/docs-files", "/v1/docs-files/"),
    *("/v1/docs/", "//v1/docs", "/v1/Docs", "/v1/docs%00", "/v1/docs/../artifacts", "/v1/docs-files/../artifacts"),
    *(
        "/v1/docs-files/%2e%2e/artifacts",
        "/v1/docs-files/swagger-ui.css/../../artifacts",
        "/v1/openapi.json%2f..%2fartifacts",
    ),
    *(
        "/v1/classify",
        "/v1/lookup",
        "/v1/hf",
        "/v1/artifacts",
        "/v1/artifacts/x/activate",
        "/v1/label_sets/x",
        "/v1/nothing",
    ),
    *("/classify_batch", "/static_content/index.css", "/assets/x", "/docs", "/openapi.json", "/nothing"),
    *(
        "//v1/classify",
        "/v1//classify",
        "/v1/../metrics",
        "/livez/../metrics",
        "/./metrics",
        "/%6detrics",
        "/metrics/",
        "/METRICS",
    ),
    *(
        "/v1/classify/",
        "/V1/classify",
        "/livez/",
        "//livez",
        "/livez/x",
        "/livez%2f..%2fmetrics",
        "/livez;x",
        "/livez%00",
        "/%2e%2e/metrics",
    ),
    *(
        "/metrics?x=/livez",
        "/metrics#/livez",
        "http://localhost/livez/metrics",
        "/livez%3f",
        "\\metrics",
        "/%c0%ae%c0%ae/metrics",
        "*",
    ),
]
OPEN_TO_READ = ["/v1/docs", "/v1/openapi.json", "/v1/docs-files/swagger-ui.css", "/v1/docs?x=1", "/v1/%64ocs"]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "CONNECT"]


def cli(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["keys", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def raw(url: str, method: str, path: str, headers: str = "", body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """An answer to a request as it is written here."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), 20) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        connection.sendall(head.encode("latin-1") + body)
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def picture() -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    render(Scene("umbrella", "red", "drawing", 3)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    cli("add", "boss", "--role", "admin", "--file", str(path))
    return path


@pytest.fixture(scope="module")
def secrets(keys: Path) -> dict[str, str]:
    return {role: cli("add", f"the-{role}", "--role", role, "--file", str(keys)) for role in ("api", "admin", "metrics")}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guarded") / "service.log"


@pytest.fixture(scope="module")
def url(keys: Path, secrets: dict[str, str], log: Path) -> Iterator[str]:
    environment = {
        "CANDOR_KEYS": str(keys),
        "CANDOR_CORS_ORIGINS": "https://app.example",
        "CANDOR_BODY_SECONDS": "1.5",
        "CANDOR_MAX_BODY_BYTES": "1000000",
    }
    with running_service(None, None, log, environment=environment) as url:
        yield url


@pytest.mark.parametrize("path", PATHS)
def test_without_a_key_nothing_is_said_on_any_path(url: str, path: str) -> None:
    for method in METHODS:
        status, headers, body = raw(url, method, path)
        if method == "CONNECT" and status == 400:  # the server itself wants another target
            continue
        assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="candor"'), (method, path, status, body[:100])
        assert method == "HEAD" or json.loads(body)["error"]["code"] == "unauthorized"


@pytest.mark.parametrize("path", OPEN_TO_READ)
def test_the_page_for_browsers_opens_without_a_key_and_only_to_get(url: str, path: str) -> None:
    assert [m for m in METHODS[:-1] if raw(url, m, path)[0] != 401] == ["GET"]
    assert raw(url, "GET", path)[0] == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/%6civez"])
def test_the_health_routes_are_open_and_say_nothing(url: str, path: str) -> None:
    status, headers, body = raw(url, "GET", path)
    assert (status, body.strip()) == (200, b"")
    assert headers["x-content-type-options"] == "nosniff"


def test_each_role_may_do_its_part(url: str, secrets: dict[str, str]) -> None:
    found = {}
    for role, key in secrets.items():
        with httpx.Client(base_url=url, headers=bearer(key), timeout=60) as client:
            image = {"image": base64.b64encode(picture()).decode(), "labels": ["red umbrella", "blue anchor"]}
            found[role] = [
                client.post("/v1/classify", json=image).status_code,
                client.post("/classify_batch", json={"items": [image]}).status_code,
                client.get("/v1/openapi.json").status_code,
                client.get("/docs.json").status_code,
                client.get("/metrics").status_code,
                client.get("/v1/artifacts").status_code,
                client.post("/v1/artifacts/nothing/activate").status_code,
                client.post("/v1//artifacts/nothing/activate").status_code,
            ]
    assert found["api"] == [200, 200, 200, 200, 403, 200, 403, 403]
    assert found["metrics"] == [403, 403, 200, 403, 200, 403, 403, 403]
    assert found["admin"][:6] == [200] * 6
    assert found["admin"][6:] == [404, 404]


def test_a_key_comes_and_goes_without_a_restart(url: str, keys: Path) -> None:
    new = cli("add", "passing", "--file", str(keys))
    with httpx.Client(base_url=url, headers=bearer(new)) as client:
        assert client.get("/v1/artifacts").status_code == 200
        good = keys.read_text()
        keys.write_text("{")
        assert client.get("/v1/artifacts").status_code == 200
        keys.write_text(good)
        cli("remove", "passing", "--file", str(keys))
        assert client.get("/v1/artifacts").status_code == 401
        assert new not in good


def test_the_page_needs_no_other_site_and_the_root_leads_to_it(url: str, secrets: dict[str, str]) -> None:
    assert httpx.get(f"{url}/", headers=bearer(secrets["api"])).headers["location"] == "/v1/docs"
    with httpx.Client(base_url=url) as client:
        page = client.get("/v1/docs")
        assert "https://" not in page.text
        for path in re.findall(r'(?:src|href)="([^"]+)"', page.text):
            assert client.get(path).status_code == 200


def test_errors_of_bentoml_come_in_our_envelope_and_are_counted(url: str, secrets: dict[str, str]) -> None:
    def refused(code: str) -> float:
        metrics = httpx.get(f"{url}/metrics", headers=bearer(secrets["metrics"])).text
        return float(re.findall(rf'^candor_rejected_total{{code="{code}"}} (\S+)$', metrics, re.MULTILINE)[0])

    with httpx.Client(base_url=url, headers=bearer(secrets["api"])) as client:
        before = {
            code: refused(code) for code in ("malformed", "not_found", "method_not_allowed", "too_large", "unauthorized")
        }
        answers = {
            "malformed": client.post("/classify_batch", json={"things": 1}),
            "not_found": client.get("/nothing"),
            "method_not_allowed": client.get("/classify_batch"),
            "too_large": client.post(
                "/classify_batch", content=iter([b"x" * 600_000] * 2), headers={"Content-Type": "application/json"}
            ),
            "unauthorized": httpx.get(f"{url}/classify_batch"),
        }
        for code, answer in answers.items():
            error = answer.json()["error"]
            assert error.keys() == {"code", "message", "field"}
            assert error["code"] == code
            assert refused(code) == before[code] + 1, code
    assert answers["method_not_allowed"].headers["allow"] == "POST"
    assert [answer.status_code for answer in answers.values()] == [400, 404, 405, 413, 401]


def test_a_large_body_is_refused_whether_or_not_it_says_so(url: str, secrets: dict[str, str]) -> None:
    for path in ("/v1/classify", "/classify_batch", "/v1/lookup"):
        for content in (b"x" * 1_000_001, iter([b"x" * 100_000] * 11)):
            answer = httpx.post(
                url + path, content=content, headers=bearer(secrets["api"]) | {"Content-Type": "application/json"}
            )
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large"), path


@pytest.mark.parametrize("path", ["/v1/classify", "/classify_batch"])
def test_a_body_that_drips_ends_with_408(url: str, secrets: dict[str, str], path: str) -> None:
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), 20) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
        connection.sendall(f"{head}X-API-Key: {secrets['api']}\r\n\r\n{{".encode())
        start = time.monotonic()
        while time.monotonic() < start + 1:
            time.sleep(0.2)
            connection.sendall(b" ")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))  # to the end: the connection is closed
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"too_slow" in answer
    assert 1.4 < time.monotonic() - start < 5


def test_a_page_of_an_allowed_origin_may_ask(url: str, secrets: dict[str, str]) -> None:
    origin = {"Origin": "https://app.example"}
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    preflight = httpx.options(f"{url}/v1/classify", headers=origin | asks)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "https://app.example")
    refused = httpx.post(f"{url}/v1/classify", headers=origin)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://app.example")
    assert httpx.options(f"{url}/v1/classify", headers=asks | {"Origin": "https://evil.example"}).status_code == 400


def test_nothing_that_a_caller_sends_is_in_the_log(url: str, secrets: dict[str, str], log: Path) -> None:
    image = base64.b64encode(picture()).decode()
    with httpx.Client(base_url=url, headers=bearer(secrets["api"]) | {"User-Agent": SECRET, "X-Other": SECRET}) as client:
        known = {"X-Request-ID": "my-own-id"}
        good = client.post(f"/v1/classify?q={SECRET}", json={"image": image, "labels": [SECRET, "b"]}, headers=known)
        assert (good.status_code, good.headers["x-request-id"]) == (200, "my-own-id")
        client.post("/v1/classify", json={"image": image, "labels": [SECRET], "template": f"{SECRET} {SECRET}", SECRET: 1})
        client.post("/v1/classify", files={SECRET: (SECRET, SECRET.encode())}, data={"labels": SECRET})
        client.post("/v1/classify", content=f'{{"{SECRET}', headers={"Content-Type": "application/json"})
        client.post("/v1/classify", content=SECRET, headers={"Content-Type": f"multipart/form-data; boundary={SECRET}"})
        client.post("/classify_batch", json={"items": [{"image": image, "labels": [SECRET]}, SECRET]})
        client.post("/classify_batch", json={SECRET: SECRET})
        client.post("/classify_batch", content=SECRET.encode(), headers={"Content-Type": "application/json"})
        client.get(f"/{SECRET}", headers={"X-Request-ID": f"{SECRET} {SECRET}"})
        client.get(f"/v1/label_sets/{SECRET}")
        client.put(f"/v1/label_sets/{SECRET}", json={"labels": [SECRET, SECRET]})
        client.post(f"/v1/artifacts/{SECRET}/activate", headers=bearer(secrets["admin"]))
        httpx.get(f"{url}/v1/docs", headers=bearer(SECRET) | {"Cookie": SECRET})
    raw(url, SECRET.upper(), f"/{SECRET}", f"{SECRET}: 1\r\n")
    text = log.read_text()
    assert SECRET not in text.lower()
    assert image[:40] not in text
    assert not [key for key in secrets.values() if key in text or key.removeprefix("candor_") in text]
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    (own,) = [line for line in lines if line.get("request_id") == "my-own-id"]
    assert own.keys() >= {"time", "level", "milliseconds"}
    expected = {"method": "POST", "route": "/v1/classify", "status": 200, "key": "the-api"}
    assert own | expected == own
    assert own["bytes_in"] > len(image)
    assert {line["route"] for line in lines if "route" in line} >= {"/v1/classify", "/classify_batch", "other"}
    assert [line for line in text.splitlines() if "Traceback" in line and not line.startswith("{")] == []


def test_without_keys_this_machine_alone_is_served(service: str) -> None:
    assert httpx.get(f"{service}/v1/openapi.json").status_code == 200
    for headers in (
        {"X-Forwarded-For": "8.8.8.8"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
    ):
        answer = httpx.get(f"{service}/v1/openapi.json", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden"), headers
