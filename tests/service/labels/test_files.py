"""Two workers that have one directory of label sets see the same ones, at the cost of a stat."""

from __future__ import annotations

import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from service.errors import ApiError
from service.labels import files
from service.labels.files import LabelSetFiles
from service.labels.spec import LabelSetSpec
from service.labels.store import LabelSetStore

SPEC = LabelSetSpec(labels=("cat", "Blue_dog"), templates=("a {}.",), threshold=0.5, thresholds={"cat": 0.9})
OTHER = LabelSetSpec(labels=("sun",))


def test_what_one_worker_puts_replaces_and_deletes_the_other_sees(tmp_path: Path) -> None:
    one, other = (LabelSetStore(tmp_path / "state" / "sets") for _ in range(2))
    assert other.names() == []
    assert one.put("shop", SPEC)
    assert (other.names(), other.get("shop")) == (["shop"], SPEC)
    for turn in range(50):  # faster than a file system's clock
        kept = OTHER if turn % 2 == 0 else SPEC
        assert not (one if turn % 3 else other).put("shop", kept)
        assert (one.get("shop"), other.get("shop")) == (kept, kept)
    other.delete("shop")
    with pytest.raises(ApiError, match="none is kept"):
        one.get("shop")
    one.put("Shop", SPEC)
    with pytest.raises(ApiError, match="'Shop' already"):
        other.put("shop", SPEC)


def test_nothing_is_read_again_while_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LabelSetStore(tmp_path).put("a", SPEC)
    LabelSetStore(tmp_path).put("b", OTHER)
    reads: list[Path] = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (reads.append(path), read_bytes(path))[1])
    store = LabelSetStore(tmp_path)
    assert sorted(path.name for path in reads) == ["a.json", "b.json"]
    long_ago = time.time_ns() - 10 * files.TICK_NS
    os.utime(tmp_path, ns=(long_ago, long_ago))
    assert store.get("a") == SPEC
    lists: list[Path] = []
    listed = files._read
    monkeypatch.setattr(files, "_read", lambda *given: (lists.append(given[0]), listed(*given))[1])
    for _ in range(10):
        assert (store.get("a"), store.names()) == (SPEC, ["a", "b"])
    assert (len(reads), lists) == (2, [])
    LabelSetStore(tmp_path).put("b", SPEC)
    reads.clear()
    for _ in range(10):
        assert store.get("b") == SPEC
    assert [path.name for path in reads] == ["b.json"]  # of the changed one alone, once


def _put_many(directory: Path, prefix: str, number: int, most: int) -> int:
    """Runs in another process; how many were taken."""
    store, taken = LabelSetStore(directory, most), 0
    for turn in range(number):
        try:
            taken += store.put(f"{prefix}{turn}", OTHER)
        except ApiError as error:
            if error.status != 409:
                raise
    return taken


@pytest.mark.slow
def test_the_bound_holds_for_several_processes_that_write_at_once(tmp_path: Path) -> None:
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    with context.Pool(4) as pool:
        taken = pool.starmap(_put_many, [(tmp_path, prefix, 15, 20) for prefix in "abcd"])
    assert sum(taken) == 20
    assert len(LabelSetStore(tmp_path).names()) == 20
    assert len(list(tmp_path.glob("*.json"))) == 20


def test_readers_beside_writers_never_see_half_a_set(tmp_path: Path) -> None:
    stores = [LabelSetStore(tmp_path) for _ in range(3)]
    stores[0].put("a", SPEC)

    def write(turn: int) -> None:
        stores[turn % 2].put("a", OTHER if turn % 2 else SPEC)

    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(write, turn) for turn in range(60)]
        while not all(one.done() for one in writes):
            assert stores[2].get("a") in (SPEC, OTHER)
    assert all(one.exception() is None for one in writes)
    assert stores[0].get("a") == stores[1].get("a") == stores[2].get("a")


def test_a_directory_that_can_no_longer_be_read_keeps_the_last_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = LabelSetStore(tmp_path)
    store.put("a", SPEC)

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(LabelSetFiles, "_stamp", denied)
        for _ in range(3):
            assert store.get("a") == SPEC
    assert [record.getMessage() for record in caplog.records] == [
        "the label sets cannot be read again (Permission denied); those read last stay"
    ]
    (tmp_path / "a.json").unlink()
    assert store.names() == []
