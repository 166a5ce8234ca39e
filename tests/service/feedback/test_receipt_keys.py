from __future__ import annotations

import json
import logging
import subprocess
import sys
from base64 import urlsafe_b64decode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from candor.errors import InvalidInput
from candor.files import write_whole
from service.feedback.receipt_keys import (
    ReceiptKey,
    ReceiptKeys,
    ReceiptKeySet,
    open_receipt_keys,
    read_receipt_keys,
    write_receipt_keys,
)
from service.feedback.receipts import open_receipts
from service.settings import Settings

WORKER = """
import sys
from pathlib import Path
from service.feedback.receipt_keys import open_receipt_keys
print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    pass
(key,) = open_receipt_keys(Path(sys.argv[1]), make=True).current()
print(key.hex())
"""
MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
DAYS = timedelta(days=1)


def key_set(*days: float) -> ReceiptKeySet:
    """A key made on each of some days."""
    return ReceiptKeySet(keys=tuple(ReceiptKey(created=MONDAY + day * DAYS) for day in days))


def test_the_first_start_makes_a_key_that_only_the_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "state" / "receipt_keys.json"
    (key,) = open_receipt_keys(path, make=True).current()
    assert (path.stat().st_mode & 0o777, len(key)) == (0o600, 32)
    document = json.loads(path.read_text())
    assert [urlsafe_b64decode(kept["secret"]) for kept in document["keys"]] == [key]
    assert abs(datetime.fromisoformat(document["keys"][0]["created"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert open_receipt_keys(path, make=True).current() == (key,)
    assert [each.name for each in path.parent.iterdir()] == ["receipt_keys.json"]
    assert open_receipt_keys(tmp_path / "other.json", make=True).current() != (key,)


@pytest.mark.slow
def test_workers_that_start_at_once_have_the_same_key(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path / "keys.json"), str(tmp_path / "go")]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [worker.stdout.readline() for worker in workers if worker.stdout] == ["ready\n"] * 4
    (tmp_path / "go").touch()
    keys = {worker.communicate(timeout=60)[0] for worker in workers}
    assert [worker.returncode for worker in workers] == [0] * 4
    assert [len(key.strip()) for key in keys] == [64]


def test_who_comes_second_takes_the_first_ones_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the link another process made the file."""
    path = tmp_path / "keys.json"
    first = open_receipt_keys(path, make=True).current()
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert open_receipt_keys(path, make=True).current() == first
    assert [each.name for each in tmp_path.iterdir()] == ["keys.json"]


def test_a_file_that_is_named_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="make one: candor keys rotate-receipts --file"):
        open_receipts(Settings(receipt_keys=tmp_path / "keys.json"))
    assert list(tmp_path.iterdir()) == []


def test_the_settings_choose_the_file_and_the_days(tmp_path: Path) -> None:
    shared = tmp_path / "shared.json"
    write_whole(shared, write_receipt_keys(key_set(0)), 0o600)
    one, other = (open_receipts(Settings(state=tmp_path / name, receipt_keys=shared)) for name in ("a", "b"))
    assert one._keys.current() == other._keys.current() == ReceiptKeys(shared).current()
    own = open_receipts(Settings(state=tmp_path / "a", receipt_days=2.5))
    assert (tmp_path / "a" / "receipt_keys.json").exists()
    assert own._lifetime == 216_000


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match=r"cannot make the receipt keys .*keys\.json: File exists"):
        open_receipt_keys(tmp_path / "file" / "keys.json", make=True)


def test_a_changed_file_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    old = key_set(0)
    write_whole(path, write_receipt_keys(old), 0o600)
    keys = ReceiptKeys(path)
    new = old.rotated(30 * DAYS, now=lambda: MONDAY + DAYS)
    write_whole(path, write_receipt_keys(new), 0o600)
    assert keys.current() == tuple(urlsafe_b64decode(key.secret) for key in new.keys)
    assert keys.current()[:-1] == (old.keys[0].secret_bytes,)


@pytest.mark.parametrize("damage", ["", "{", '{"keys": []}', '{"keys": [{"secret": "x"}]}', "gone"])
def test_a_damaged_file_keeps_the_last_good_keys_and_says_nothing_of_them(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.json"
    write_whole(path, write_receipt_keys(key_set(0)), 0o600)
    keys = ReceiptKeys(path)
    before = keys.current()
    path.unlink()
    if damage != "gone":
        write_whole(path, damage, 0o600)
    assert [keys.current() for _ in range(3)] == [before] * 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"keys": []}', '{"format": 2, "keys": []}', '{"keys": [{"secret": "topsecret", "created": 1}]}']
)
def test_a_damaged_file_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a file of receipt keys") as caught:
        read_receipt_keys(text)
    assert "topsecret" not in str(caught.value)


def test_keys_are_not_shown() -> None:
    keys = key_set(0)
    assert keys.keys[0].secret not in repr(keys)


def rotated_on(day: float, *days: float, most: int | None = None) -> list[float]:
    """The days of the keys that are left, after a rotation on a day, of keys made on others; receipts live 30 days."""
    keys = key_set(*days).rotated(30 * DAYS, most, now=lambda: MONDAY + day * DAYS)
    return [(key.created - MONDAY) / DAYS for key in keys.keys]


def test_a_key_is_dropped_when_the_receipts_that_it_signed_have_expired() -> None:
    # the key of day 0 signs until that of day 10 comes, so its last receipt is good until day 40
    assert rotated_on(39, 0, 10) == [0, 10, 39]
    assert rotated_on(40, 0, 10) == [0, 10, 40]
    assert rotated_on(40.001, 0, 10) == [10, 40.001]
    assert rotated_on(1000, 0) == [0, 1000]  # it signed until now


def test_at_most_so_many_are_kept() -> None:
    assert rotated_on(3, 0, 1, 2, most=2) == [2, 3]
    assert rotated_on(3, 0, 1, 2, most=1) == [3]
    assert rotated_on(3, 0, 1, 2, most=9) == [0, 1, 2, 3]
