"""The one error envelope: `{"error": {"code", "message", "field"}}`."""

from __future__ import annotations

from http import HTTPStatus

# status -> code of every refusal a caller can cause; the metric has one child for each
CODES: dict[int, str] = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    413: "too_large",
    415: "not_an_image",
    422: "invalid",
    429: "too_many_requests",
    500: "internal",
    503: "unavailable",
}
RETRY_SECONDS = 5  # of a 503 that knows nothing better


class ApiError(Exception):
    """A refusal with its HTTP status.

    Args:
        status: one of CODES.
        message: one sentence that says what to do.
        field: the request field it is about.
        retry_after: seconds after which it is worth trying again.
    """

    def __init__(self, status: int, message: str, field: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.field, self.retry_after = status, message, field, retry_after


def envelope(status: int, message: str, field: str | None = None) -> dict[str, dict[str, str | None]]:
    """The body of an error answer."""
    code = CODES.get(status) or HTTPStatus(status).name.lower()
    return {"error": {"code": code, "message": message, "field": field}}
