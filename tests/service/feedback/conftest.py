from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.feedback.store import FeedbackStore
from tests.postgres import new_database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'feedback.db'}"
    return new_database(request.getfixturevalue("postgres"), f"t{secrets.token_hex(8)}")


@pytest.fixture
def store(url: str) -> Iterator[FeedbackStore]:
    opened = FeedbackStore.open(url, "one")
    yield opened
    opened.close()
