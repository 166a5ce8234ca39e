"""The cache on disk: exact, shared by processes, and never taken in by damage."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import torch

from candor.errors import IntegrityError, InvalidInput
from training.feature_cache import FILE, KEYS_A_QUERY, FeatureCache, default_cache_dir

ROOT = Path(__file__).parents[2]
WRITER = """
import hashlib, sys, torch
from pathlib import Path
from training.feature_cache import FeatureCache
cache, who = FeatureCache(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for i in range(60):
    own, shared = (hashlib.sha256(f"{name} {i}".encode()).digest() for name in (who, "shared"))
    cache.put({own: torch.full((4,), float(i)), shared: torch.full((4,), -float(i))})
    assert cache.get([own], 4)[own][0] == i
"""


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def filled(root: Path, count: int = 3, width: int = 4) -> FeatureCache:
    cache = FeatureCache(root)
    cache.put({key(i): torch.full((width,), i + 0.1) for i in range(count)})
    return cache


def rewrite(root: Path, number: int, change: str) -> None:
    with closing(sqlite3.connect(root / FILE)) as connection, connection:
        changed = connection.execute(f"UPDATE features SET value = {change} WHERE key = ?", (key(number),))
        assert changed.rowcount == 1


def test_features_come_back_to_the_bit(tmp_path: Path) -> None:
    values = torch.tensor([0.1, -0.0, 1e-42, float("inf"), float("nan"), 3.4e38])
    cache = FeatureCache(tmp_path / "made" / "when written")
    assert cache.get([key(1)], 6) == {}
    assert not (tmp_path / "made").exists()
    cache.put({key(1): values})
    back = FeatureCache(tmp_path / "made" / "when written").get([key(1), key(2)], 6)
    assert list(back) == [key(1)]
    assert back[key(1)].view(torch.int32).tolist() == values.view(torch.int32).tolist()


def test_nothing_is_kept_without_a_root() -> None:
    cache = filled(None)  # type: ignore[arg-type]
    assert cache.get([key(0)], 4) == {}


def test_more_keys_than_one_query_takes(tmp_path: Path) -> None:
    cache = filled(tmp_path, 2 * KEYS_A_QUERY + 1, width=2)
    found = cache.get([key(i) for i in range(2 * KEYS_A_QUERY + 5)], 2)
    assert sorted(found) == [key(i) for i in range(2 * KEYS_A_QUERY + 1)]


def test_a_row_of_another_length_is_a_miss_and_is_written_anew(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    assert set(cache.get([key(0), key(1)], 5)) == set()
    rewrite(tmp_path, 1, "substr(value, 1, 10)")
    assert set(cache.get([key(0), key(1)], 4)) == {key(0)}
    cache.put({key(1): torch.ones(4)})
    assert cache.get([key(1)], 4)[key(1)].tolist() == [1.0] * 4


@pytest.mark.parametrize("change", ["zeroblob(24)", "'text'", "(SELECT value FROM features WHERE key = zeroblob(32))"])
def test_a_damaged_row_or_that_of_another_key_is_a_miss(tmp_path: Path, change: str) -> None:
    cache = filled(tmp_path)
    rewrite(tmp_path, 1, change)
    assert set(cache.get([key(0), key(1), key(2)], 4)) == {key(0), key(2)}


def test_a_file_that_is_no_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, though long enough to be looked at" * 100)
    for use in (lambda c: c.get([key(0)], 4), lambda c: c.put({key(0): torch.ones(4)})):
        with pytest.raises(IntegrityError, match=r"features\.sqlite3: expected a feature cache \(remove the file"):
            use(FeatureCache(tmp_path))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_damage_not_an_empty_cache(tmp_path: Path, share: float) -> None:
    cache = filled(tmp_path, 2000)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(IntegrityError, match="remove the file"):
        cache.get([key(i) for i in range(2000)], 4)


def test_garbage_inside_never_gives_a_wrong_feature(tmp_path: Path) -> None:
    cache = filled(tmp_path, 2000)
    whole = bytearray((tmp_path / FILE).read_bytes())
    for at in range(5000, len(whole), 997):
        whole[at] ^= 0x10
    (tmp_path / FILE).write_bytes(whole)
    found: dict[bytes, torch.Tensor] = {}
    for i in range(2000):
        try:
            found |= cache.get([key(i)], 4)
        except IntegrityError:
            continue
    assert len(found) < 2000
    assert all(
        feature.tolist() == [torch.tensor(int.from_bytes(k, "big") + 0.1).item()] * 4 for k, feature in found.items()
    )


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InvalidInput, match=f"cannot keep features in {tmp_path}/file"):
        FeatureCache(tmp_path / "file").put({key(0): torch.ones(4)})
    (tmp_path / FILE).mkdir()
    with pytest.raises(InvalidInput, match=f"cannot use the feature cache {tmp_path}/{FILE}"):
        FeatureCache(tmp_path).get([key(0)], 4)


def test_a_file_that_cannot_change_its_journal_now_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE)) as other:
        assert other.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
        other.execute("BEGIN")
        other.execute("SELECT * FROM features").fetchone()
        monkeypatch.setattr("training.feature_cache.WAIT_SECONDS", 0.05)
        assert set(cache.get([key(0), key(9)], 4)) == {key(0)}


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """They start on a file that is not there yet, at the same moment."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    pipe = subprocess.PIPE
    writers = [
        subprocess.Popen([*command, who], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for who in "abc"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.communicate(timeout=120)[1] for writer in writers] == ["", "", ""]
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        assert connection.execute("SELECT count(*) FROM features").fetchone() == (4 * 60,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_default_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("CANDOR_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache_dir() == Path("/home/ada/.cache/candor/features")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache_dir() == Path("/home/ada/.cache/candor/features")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert default_cache_dir() == Path("/var/cache/candor/features")
    monkeypatch.setenv("CANDOR_CACHE", "/data/kept")
    assert default_cache_dir() == Path("/data/kept")
