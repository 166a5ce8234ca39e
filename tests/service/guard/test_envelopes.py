from __future__ import annotations

import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ApiError, envelope
from service.guard.envelopes import Envelopes


def answer(app: ASGIApp, method: str = "GET", path: str = "/") -> Any:
    return TestClient(Envelopes(app)).request(method, path, follow_redirects=False)


PYDANTIC = {
    "error": "1 validation error for Items",
    "detail": [{"type": "missing", "loc": ["items", 0], "msg": "Field required", "url": "https://x"}],
}


@pytest.mark.parametrize(
    ("response", "code", "message", "field"),
    [
        (JSONResponse(PYDANTIC, 400), "malformed", "Field required", "items.0"),
        (JSONResponse([{"error": "bad labels"}], 400), "malformed", "bad labels", None),
        (JSONResponse({"error": "Authorization error"}, 401), "unauthorized", "Authorization error", None),
        (
            JSONResponse({"error": "An unexpected error has occurred"}, 500),
            "internal",
            "An unexpected error has occurred",
            None,
        ),
        (PlainTextResponse("Not Found", 404), "not_found", "there is no such route; see /v1/docs", None),
        (PlainTextResponse("Method Not Allowed", 405, {"Allow": "GET"}), "method_not_allowed", "Method Not Allowed", None),
        (JSONResponse({"error": "Not able to"}, 504), "gateway_timeout", "Not able to", None),
        (Response(b"\xff\xfe", 422), "invalid", "\ufffd\ufffd", None),
        (Response(b"", 415), "not_an_image", "unsupported media type", None),
        (Response(b"[" * 100_000, 400), "malformed", "[" * 500, None),
        (JSONResponse(["a", "b"], 409), "conflict", "conflict", None),
        (JSONResponse({"error": {"code": "x"}}, 400), "malformed", "{'code': 'x'}", None),
    ],
)
def test_errors_in_other_shapes_are_translated(
    response: Response, code: str, message: str, field: str | None, counted: list[str]
) -> None:
    found = answer(response)
    assert found.json() == {"error": {"code": code, "message": message, "field": field}}
    assert found.headers["content-type"] == "application/json"
    assert int(found.headers["content-length"]) == len(found.content)
    assert counted == [code]


def test_headers_that_belong_to_the_error_stay() -> None:
    app = Starlette(routes=[Route("/x", PlainTextResponse("x"), methods=["PUT"])])
    found = answer(app, "POST", "/x")
    assert (found.status_code, found.headers["allow"]) == (405, "PUT")
    assert answer(PlainTextResponse("full", 503)).headers["retry-after"] == "5"
    assert answer(PlainTextResponse("full", 503, {"Retry-After": "9"})).headers["retry-after"] == "9"
    assert answer(PlainTextResponse("who?", 401)).headers["www-authenticate"] == 'Bearer realm="candor"'


def test_our_own_envelope_passes_as_it_is_and_is_not_counted_again(counted: list[str]) -> None:
    body = envelope(422, "impossible", "labels")
    found = answer(JSONResponse(body, 422, {"X-Own": "1"}))
    assert (found.status_code, found.json(), found.headers["x-own"]) == (422, body, "1")
    assert counted == []


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (ApiError(401, "m"), 401, {"www-authenticate": 'Bearer realm="candor"'}),
        (ApiError(429, "m", retry_after=7), 429, {"retry-after": "7"}),
        (ApiError(503, "m"), 503, {"retry-after": "5"}),
        (ApiError(422, "m", "labels"), 422, {}),
    ],
)
def test_a_refusal_is_answered(error: ApiError, status: int, headers: dict[str, str], counted: list[str]) -> None:
    async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    found = answer(refuses)
    assert (found.status_code, found.json()) == (status, envelope(status, "m", error.field))
    assert headers.items() <= found.headers.items()
    assert counted == [found.json()["error"]["code"]]


def test_what_nobody_expected_is_a_500_that_tells_the_log_alone(
    caplog: pytest.LogCaptureFixture, counted: list[str]
) -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("hush")

    found = answer(fails)
    assert (found.status_code, found.json()["error"]["code"]) == (500, "internal")
    assert "hush" not in found.text
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert counted == ["internal"]


def test_a_500_that_a_route_has_answered_and_raised_again_is_told_once(
    caplog: pytest.LogCaptureFixture, counted: list[str]
) -> None:
    async def as_starlette(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse(envelope(500, "logged"), 500)(scope, receive, send)
        raise ValueError("hush")

    assert answer(as_starlette).json() == envelope(500, "logged")
    assert (caplog.records, counted) == ([], [])


def test_an_answer_that_has_begun_is_not_answered_twice(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("hush")

    assert answer(breaks).text == "half"
    assert len(caplog.records) == 1


def test_a_probe_of_a_service_that_is_not_ready_counts_as_no_refusal(counted: list[str]) -> None:
    found = answer(PlainTextResponse("not ready", 503), path="/readyz")
    assert (found.status_code, found.json()["error"]["code"]) == (503, "unavailable")
    assert counted == []


def test_answers_that_are_no_errors_pass_as_they_come() -> None:
    async def pieces() -> Any:
        yield b"a"
        yield b"b"

    assert answer(StreamingResponse(pieces())).text == "ab"
    moved = answer(Response(status_code=307, headers={"Location": "/x"}), "HEAD")
    assert (moved.status_code, moved.headers["location"]) == (307, "/x")
