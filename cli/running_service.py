"""A running service, as the commands ask it."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import httpx

from candor.errors import InvalidInput

QUICK, SLOW = 10, 300  # seconds: an activation loads weights and encodes label sets
FOLLOWED, POLL = 60, 0.5  # seconds: the other workers of a service follow the one that was asked


class RunningService:
    """Asks a service which artifact answers, and to answer with another one.

    Args:
        url: of the service.
        key: of an admin, where it has keys; sent to this URL and nowhere else.

    Raises:
        InvalidInput: it is no such URL.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, TypeError, ValueError):
            parsed = httpx.URL("")
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise InvalidInput(f"{url[:100]!r} is no URL of a service, such as http://127.0.0.1:3000")
        if parsed.userinfo:
            raise InvalidInput("the service's URL holds a user; keys are sent as headers")
        self._url = str(parsed).rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def active(self) -> str:
        """The tag of the artifact that answers.

        Raises:
            InvalidInput: the service does not say.
        """
        return self._tag("GET", "/v1/artifacts", "active", QUICK)

    def activate(self, tag: str) -> None:
        """Switch to an artifact, and see that it answers.

        Raises:
            InvalidInput: the service refuses, or goes on with another one.
        """
        active = self._tag("POST", f"/v1/artifacts/{quote(tag, safe='')}/activate", "tag", SLOW)
        deadline = time.monotonic() + FOLLOWED
        while (answering := self.active()) != tag and active == tag and time.monotonic() < deadline:
            time.sleep(POLL)
        if answering != tag or active != tag:
            raise InvalidInput(f"it was asked to activate {tag}, but answers with {answering[:100]}")

    def _tag(self, method: str, path: str, field: str, timeout: float) -> str:
        try:
            response = httpx.request(method, self._url + path, headers=self._headers, timeout=timeout)
        except httpx.HTTPError as error:
            raise InvalidInput(f"{self._url} does not answer: {error or type(error).__name__}") from None
        try:
            document: Any = response.json()
        except ValueError:
            document = None
        said = document if isinstance(document, dict) else {}
        if response.is_success and isinstance(said.get(field), str):
            return str(said[field])
        message = said["error"].get("message") if isinstance(said.get("error"), dict) else None
        raise InvalidInput(f"{self._url}{path} answers {response.status_code}: {str(message or 'no Candor service')[:300]}")
