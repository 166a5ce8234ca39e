"""`candor feedback`: totals made anew, and rows as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from cli.main import app
from service.feedback.store import FeedbackStore
from tests.service.feedback.made import CURVE, told


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'feedback.db'}"
    store = FeedbackStore.open(url, "one")
    store.add([told("1", "dog", "wrong", 20.0), told("2", at=10.0, artifact="b"), told("3", at=30.0)], [False] * 3)
    store.close()
    return url


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["feedback", *arguments])
    return result.exit_code, result.output


def test_export_prints_every_field_in_the_order_of_arrival(url: str) -> None:
    code, output = run("export", "--url", url)
    rows = [json.loads(line) for line in output.splitlines()]
    assert (code, [row["prediction_id"] for row in rows]) == (0, ["2", "1", "3"])
    assert rows[1] == {
        "prediction_id": "1",
        "artifact": "a",
        "scope": "new",
        "predicted": "cat",
        "label": "dog",
        "outcome": "wrong",
        "confidence": 0.73,
        "known": "true",
        "multiplier": 2.5,
        "gamma": None,
        "curve": list(CURVE),
        "issued": 100.0,
        "received": 20.0,
        "replica": "one",
        "overwritten": 0,
    }
    code, output = run("export", "--url", url, "--artifact", "a", "--since", "25")
    assert [json.loads(line)["prediction_id"] for line in output.splitlines()] == ["3"]


def test_rebuild_mends_totals_that_were_changed_by_hand(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE candor_feedback_totals SET count = 77"))
    engine.dispose()
    monkeypatch.setenv("CANDOR_FEEDBACK", url)
    assert run("rebuild")[0] == 0
    store = FeedbackStore.open(url, "one")
    assert {key: totals.bins.total for key, totals in store.totals().items()} == {("a", "new"): 2, ("b", "new"): 1}
    store.close()


def test_what_cannot_be_used_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run("export", "--url", "mysql://me:hunter2@host/x")
    assert (code, "is no feedback database" in output, "hunter2" in output) == (2, True, False)
    monkeypatch.setenv("CANDOR_FEEDBACK", "off")
    assert run("rebuild") == (2, "candor: CANDOR_FEEDBACK is off; name a store with --url\n")


def test_a_mistyped_store_is_not_made(tmp_path: Path) -> None:
    for command in ("export", "rebuild"):
        code, output = run(command, "--url", f"sqlite:///{tmp_path / 'deep' / 'mistyped.db'}")
        assert (code, "there is no feedback database" in output) == (2, True)
    assert list(tmp_path.iterdir()) == []
