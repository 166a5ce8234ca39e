from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from candor.errors import InvalidInput
from candor.files import write_whole
from service.guard.key_file import KeyFile
from service.guard.keys import KeySet, NamedKey, write_keys

BOSS = NamedKey(name="boss", role="admin", sha256="b" * 64)
PHONE = NamedKey(name="phone", role="api", sha256="a" * 64)


def text(*keys: NamedKey) -> str:
    return write_keys(KeySet(keys=keys))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    write_whole(path, text(PHONE), 0o600)
    return path


def test_a_changed_file_counts_at_once(path: Path) -> None:
    keys = KeyFile(path)
    assert keys.current() == (PHONE,)
    write_whole(path, text(PHONE, BOSS), 0o600)
    assert keys.current() == (PHONE, BOSS)
    write_whole(path, text(BOSS), 0o600)
    assert keys.current() == (BOSS,)


def test_a_file_of_the_same_size_and_time_is_told_apart(path: Path) -> None:
    keys, before = KeyFile(path), path.stat()
    other = text(PHONE.model_copy(update={"sha256": "c" * 64}))
    path.write_text(other)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert keys.current()[0].sha256 == "c" * 64


def test_it_is_read_only_when_it_changes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KeyFile(path)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("read again"))
    assert [keys.current() for _ in range(3)] == [(PHONE,)] * 3


@pytest.mark.parametrize("damage", ["", "{", "null", "\x00", '{"keys": [{"name": "a"}]}', "gone", "folder"])
def test_a_damaged_file_keeps_the_last_good_keys_and_is_told_once(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys = KeyFile(path)
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "gone":
        path.write_text(damage)
        path.chmod(0o600)
    assert [keys.current() for _ in range(3)] == [(PHONE,)] * 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    if damage == "folder":
        path.rmdir()
    write_whole(path, text(BOSS), 0o600)
    assert keys.current() == (BOSS,)


def test_a_file_without_any_key_lets_nobody_in(path: Path) -> None:
    keys = KeyFile(path)
    write_whole(path, text(), 0o600)
    assert keys.current() == ()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"", "not a file of keys"), (b"\xff", "not text"), (b"x" * 2**20 + b"x", "larger")],
)
def test_the_service_does_not_start_with_a_damaged_file(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=reason):
        KeyFile(path)


def test_the_service_does_not_start_without_a_key(path: Path) -> None:
    path.write_text(text())
    with pytest.raises(InvalidInput, match="holds no key; make one: candor keys add"):
        KeyFile(path)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 0), (0o644, 1), (0o606, 1)])
def test_a_file_that_everybody_may_read_is_warned_of(
    path: Path, mode: int, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    path.chmod(mode)
    KeyFile(path)
    assert sum(record.levelno == logging.WARNING for record in caplog.records) == warned
