from __future__ import annotations

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from service.guard.envelopes import Envelopes
from service.guard.loopback import Anonymous, LoopbackOnly, is_loopback


def status(client: str, base: str = "http://localhost:3000", path: str = "/v1/classify", **headers: str) -> int:
    app = Envelopes(LoopbackOnly(PlainTextResponse("hello"), ["https://app.example"]))
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return TestClient(app, base_url=base, client=(client, 50000)).get(path, headers=sent).status_code


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "::1%lo"])
def test_this_machine_is_served(client: str) -> None:
    assert status(client) == 200


@pytest.mark.parametrize(
    "client",
    ["10.0.0.1", "8.8.8.8", "::ffff:10.0.0.1", "fe80::1", "::", "0.0.0.0", "", "unix", "127.0.0.1.example", "localhosts"],
)
def test_others_are_not(client: str) -> None:
    assert status(client) == 403
    assert status(client, path="/livez") == 200


@pytest.mark.parametrize("base", ["http://127.0.0.1", "http://[::1]:3000", "http://LOCALHOST", "http://127.0.0.2:1"])
def test_names_of_this_machine_are_served(base: str) -> None:
    assert status("127.0.0.1", base) == 200


@pytest.mark.parametrize(
    "base",
    [
        "http://evil.example",
        "http://localhost.evil.example:3000",
        "http://10.0.0.1:3000",
        "http://[::2]",
        "http://[fe80::1]",
    ],
)
def test_a_name_that_points_here_is_not(base: str) -> None:
    assert status("127.0.0.1", base) == 403


@pytest.mark.parametrize(
    "host", ["", "localhost@evil.example", "evil.example@localhost", "[::1", "localhost/x", "127.1", ":3000"]
)
def test_a_host_that_is_hard_to_read_is_not_let_in_as_another(host: str) -> None:
    assert status("127.0.0.1", host=host) == (200 if host == "localhost/x" else 403)


@pytest.mark.parametrize(
    "name",
    [
        *("X_Forwarded_For", "X_Forwarded_Host", "X_Forwarded_Proto", "X_Forwarded_Port", "Forwarded", "Via"),
        *("X_Real_IP", "X_Client_IP", "CF_Connecting_IP", "True_Client_IP"),
    ],
)
def test_a_proxy_on_this_machine_asks_for_others(name: str) -> None:
    assert status("127.0.0.1", **{name: "127.0.0.1"}) == 403


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:8000", 200),
        ("http://127.0.0.1:5173", 200),
        ("https://app.example", 200),
        ("https://evil.example", 403),
        ("null", 403),
        ("https://localhost.evil.example", 403),
        ("https://app.example.evil.example", 403),
    ],
)
def test_pages_of_other_sites_may_not_use_the_browser_of_this_machine(origin: str, expected: int) -> None:
    assert status("127.0.0.1", origin=origin) == expected


def test_the_refusal_says_what_to_do() -> None:
    app = Envelopes(LoopbackOnly(PlainTextResponse("hello")))
    error = TestClient(app, client=("10.0.0.1", 1)).get("/").json()["error"]
    assert error["code"] == "forbidden"
    assert "candor keys add NAME --file FILE" in error["message"]
    assert "CANDOR_ALLOW_ANONYMOUS=true" in error["message"]


ACTIVATE = "/v1/artifacts/x/activate"


def anonymous(method: str, path: str, client: str = "8.8.8.8", base: str = "http://localhost", **headers: str) -> int:
    app = Envelopes(Anonymous(PlainTextResponse("hello"), ["https://app.example"]))
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return TestClient(app, base_url=base, client=(client, 1)).request(method, path, headers=sent).status_code


def test_strangers_without_keys_may_do_what_an_api_key_may() -> None:
    for method, path in (
        ("POST", "/v1/classify"),
        ("PUT", "/v1/label_sets/x"),
        ("GET", "/v1/artifacts"),
        ("GET", "/livez"),
    ):
        assert anonymous(method, path) == 200, path
    for method, path in (("POST", ACTIVATE), ("POST", "/v1//artifacts/x/activate"), ("GET", "/metrics")):
        assert anonymous(method, path) == 403, path


def test_only_this_machine_itself_may_do_more() -> None:
    assert anonymous("POST", ACTIVATE, client="127.0.0.1") == 200
    assert anonymous("GET", "/metrics", client="127.0.0.1") == 200
    assert anonymous("POST", ACTIVATE, client="127.0.0.1", base="http://evil.example") == 403
    assert anonymous("POST", ACTIVATE, client="127.0.0.1", x_forwarded_proto="https") == 403
    assert anonymous("POST", ACTIVATE, client="127.0.0.1", origin="https://evil.example") == 403


@pytest.mark.parametrize("client", ["127.0.0.1", "8.8.8.8"])
def test_pages_of_foreign_origins_change_nothing(client: str) -> None:
    for method, path in (("POST", "/v1/classify"), ("PUT", "/v1/label_sets/x"), ("DELETE", "/v1/label_sets/x")):
        assert anonymous(method, path, client, origin="https://evil.example") == 403
        assert anonymous(method, path, client, origin="null") == 403
        assert anonymous(method, path, client, origin="https://app.example") == 200
    assert anonymous("GET", "/v1/artifacts", client, origin="https://evil.example") == 200


def test_the_refusal_of_a_stranger_says_to_make_keys() -> None:
    app = Envelopes(Anonymous(PlainTextResponse("hello")))
    error = TestClient(app, client=("10.0.0.1", 1)).post(ACTIVATE).json()["error"]
    assert error["code"] == "forbidden"
    assert "candor keys add NAME --file FILE" in error["message"]
    assert "CANDOR_KEYS=FILE" in error["message"]


def test_a_name_is_not_looked_up() -> None:
    assert is_loopback("localhost")
    assert not is_loopback("ip6-localhost")
