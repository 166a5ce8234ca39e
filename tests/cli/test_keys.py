from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from service.feedback.receipt_keys import ReceiptKey, ReceiptKeys, ReceiptKeySet, write_receipt_keys


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_shown_once_and_kept_as_a_hash(file: Path) -> None:
    made = run("add", "phone-app", "--role", "metrics", "--file", str(file))
    key = made.stdout.strip()
    assert (made.exit_code, key[:7]) == (0, "candor_")
    assert file.stat().st_mode & 0o777 == 0o600
    kept = json.loads(file.read_text())
    expected = {"name": "phone-app", "role": "metrics", "sha256": hashlib.sha256(key.encode()).hexdigest()}
    assert kept == {"format": 1, "keys": [expected]}
    assert key not in file.read_text()
    listed = run("list", "--file", str(file)).stdout
    assert listed.split() == ["phone-app", "metrics", expected["sha256"][:12]]


def test_keys_are_added_beside_others_and_taken_away(file: Path) -> None:
    for name in ("a", "b", "c"):
        assert run("add", name, "--file", str(file)).exit_code == 0
    assert run("remove", "b", "--file", str(file)).exit_code == 0
    assert [line.split()[0] for line in run("list", "--file", str(file)).stdout.splitlines()] == ["a", "c"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_file_may_be_named_by_the_services_variable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDOR_KEYS", str(file))
    assert run("add", "a").exit_code == 0
    assert run("list").stdout.startswith("a\tapi\t")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "a"), "holds a key 'a' already"),
        (("add", "a b"), "'a b' is no name of a key"),
        (("add", "x" * 65), "is no name of a key"),
        (("remove", "z"), "holds no key 'z'; there are: a"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(file: Path, arguments: tuple[str, ...], said: str) -> None:
    run("add", "a", "--file", str(file))
    before = file.read_bytes()
    result = run(*arguments, "--file", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert file.read_bytes() == before


@pytest.mark.parametrize("command", [("list",), ("remove", "a"), ("add", "a")])
def test_a_damaged_file_is_one_sentence_and_stays(file: Path, command: tuple[str, ...]) -> None:
    file.write_bytes(b"\xff{")
    result = run(*command, "--file", str(file))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "not a file of keys" in result.stderr
    assert file.read_bytes() == b"\xff{"


def test_a_file_that_is_not_there_is_told_how_to_make(file: Path) -> None:
    result = run("list", "--file", str(file))
    assert result.exit_code == 2
    assert "make one: candor keys add NAME --file" in result.stderr


def test_a_path_that_cannot_be_written_is_one_sentence(file: Path) -> None:
    file.write_text("")
    result = run("add", "a", "--file", str(file / "keys.json"))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def test_receipt_keys_are_made_and_rotated(tmp_path: Path) -> None:
    path = tmp_path / "receipt_keys.json"
    made = run("rotate-receipts", "--file", str(path))
    assert (made.exit_code, made.stdout) == (0, "")
    (first,) = ReceiptKeys(path).current()
    assert path.stat().st_mode & 0o777 == 0o600
    rotated = run("rotate-receipts", "--file", str(path))
    assert "holds 2 keys now: a new one, and 0 old ones dropped" in rotated.stderr
    assert ReceiptKeys(path).current()[0] == first
    newest = ReceiptKeys(path).current()[-1]
    assert (
        "holds 2 keys now: a new one, and 1 old ones dropped"
        in run("rotate-receipts", "--file", str(path), "--keep", "2").stderr
    )
    assert ReceiptKeys(path).current()[0] == newest
    assert first not in ReceiptKeys(path).current()


def test_keys_whose_receipts_have_expired_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "receipt_keys.json"
    days = [ReceiptKey(created=datetime.now(UTC) - timedelta(days=ago)) for ago in (50, 40, 20)]
    path.write_text(write_receipt_keys(ReceiptKeySet(keys=tuple(days))))
    assert run("rotate-receipts", "--file", str(path)).exit_code == 0  # that of 50 days ago signed until 40 days ago
    assert ReceiptKeys(path).current()[:-1] == tuple(key.secret_bytes for key in days[1:])
    assert run("rotate-receipts", "--file", str(path), "--days", "10").exit_code == 0
    assert ReceiptKeys(path).current()[0] == days[2].secret_bytes


def test_receipt_keys_that_are_damaged_stay(file: Path) -> None:
    file.write_text('{"keys": [{"secret": "topsecret"}]}')
    result = run("rotate-receipts", "--file", str(file))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "not a file of receipt keys" in result.stderr
    assert "topsecret" not in result.stderr
    assert file.read_text() == '{"keys": [{"secret": "topsecret"}]}'
