"""A build that is stopped goes on, gives the same bits, and trusts nothing that it finds."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from vocab_index import encoding as module
from vocab_index.encoding import Encoding
from vocab_index.parts import FEATURES, LOCK, PLAN, Parts, kept_parts
from vocab_index.sources.words import WordList

SHARDS, SHARD = 8, 4


class Stopped(Exception):
    """Stands for a kill."""


@pytest.fixture
def encoding(tiny_clip: Backbone, monkeypatch: pytest.MonkeyPatch) -> Encoding:
    monkeypatch.setattr(module, "SHARD", SHARD)
    words = tuple(f"{'very ' * (n % 5)}old number {n}" for n in range(SHARDS * SHARD))
    return Encoding.of(tiny_clip, WordList("numbers", words, {}), "a {}.")


def _stop_after(shards: int) -> Any:
    def progress(steps: Iterable[Any], description: str) -> Iterator[Any]:
        for done, step in enumerate(steps):
            if done == shards:
                raise Stopped
            yield step

    return progress


def _stopped(path: Path, encoding: Encoding, shards: int) -> None:
    with suppress(Stopped), kept_parts(path, encoding) as parts:
        encoding.run(_stop_after(shards), parts)
        raise Stopped


def test_a_stopped_build_goes_on_with_equal_bits(encoding: Encoding, tmp_path: Path) -> None:
    path, expected = tmp_path / "x.partial", encoding.run()
    for before in (0, 3, 5):
        with suppress(Stopped), kept_parts(path, encoding) as parts:
            assert parts.found == SHARD * before
            encoding.run(_stop_after(3 if before == 0 else 2), parts)
    with kept_parts(path, encoding) as parts:
        assert parts.found == SHARD * 7
        np.testing.assert_array_equal(encoding.run(shelf=parts), expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [0, 1000, SHARD * 64 * 4 * SHARDS - 1])
def test_a_damaged_shard_is_made_again(encoding: Encoding, tmp_path: Path, place: int) -> None:
    path, expected = tmp_path / "x.partial", encoding.run()
    _stopped(path, encoding, SHARDS)
    content = bytearray((path / FEATURES).read_bytes())
    content[place] ^= 4
    (path / FEATURES).write_bytes(content)
    with kept_parts(path, encoding) as parts:
        assert parts.found == SHARD * (SHARDS - 1)
        np.testing.assert_array_equal(encoding.run(shelf=parts), expected)


def test_cut_features_and_foreign_marks_count_as_missing(encoding: Encoding, tmp_path: Path) -> None:
    path = tmp_path / "x.partial"
    _stopped(path, encoding, 6)
    marks = sorted(path.glob("*.sha256"))
    assert len(marks) == 6
    marks[0].write_bytes(marks[1].read_bytes())  # of another shard
    marks[2].write_bytes(b"\xff\xfe")
    os.truncate(path / FEATURES, 64 * 4)
    with suppress(Stopped), kept_parts(path, encoding) as parts:
        assert parts.found == 0
        raise Stopped


def test_parts_of_another_build_are_refused_or_thrown_away(encoding: Encoding, tmp_path: Path) -> None:
    path = tmp_path / "x.partial"
    _stopped(path, encoding, 4)
    other = Encoding.of(encoding.backbone, encoding.words, "the {}.")
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(InvalidInput, match=r"unfinished build of something else \(templates \"\['a \{\}\.'\]\", not"):  # noqa: SIM117
        with kept_parts(path, other):
            pytest.fail("unreachable")
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    with kept_parts(path, other, replace=True) as parts:
        assert parts.found == 0
        np.testing.assert_array_equal(other.run(shelf=parts), other.run())


def test_replace_goes_on_with_parts_of_the_same_build(encoding: Encoding, tmp_path: Path) -> None:
    _stopped(tmp_path / "x.partial", encoding, 4)
    with kept_parts(tmp_path / "x.partial", encoding, replace=True) as parts:
        assert parts.found == 4 * SHARD


@pytest.mark.parametrize("plan", ["", "{", "[]", "{}", "null"])
def test_a_damaged_plan_is_refused(encoding: Encoding, tmp_path: Path, plan: str) -> None:
    _stopped(tmp_path / "x.partial", encoding, 2)
    (tmp_path / "x.partial" / PLAN).write_text(plan)
    with pytest.raises(InvalidInput, match="unfinished build of something else"):  # noqa: SIM117
        with kept_parts(tmp_path / "x.partial", encoding):
            pytest.fail("unreachable")


@pytest.mark.parametrize("left", [[], [LOCK], [LOCK, FEATURES], [LOCK, "000001.sha256", ".000002.sha256.abc"]])
def test_what_a_kill_at_either_end_leaves_counts_as_nothing(encoding: Encoding, tmp_path: Path, left: list[str]) -> None:
    path = tmp_path / "x.partial"
    path.mkdir()
    for name in left:
        (path / name).write_bytes(b"")
    with kept_parts(path, encoding) as parts:
        assert parts.found == 0
        np.testing.assert_array_equal(encoding.run(shelf=parts), encoding.run())
    assert not path.exists()


def test_a_second_build_at_once_is_refused(encoding: Encoding, tmp_path: Path) -> None:
    path = tmp_path / "x.partial"
    with kept_parts(path, encoding) as parts:
        encoding.run(shelf=parts)
        for replace in (False, True):
            with pytest.raises(InvalidInput, match="another process is building in"):  # noqa: SIM117
                with kept_parts(path, encoding, replace):
                    pytest.fail("unreachable")
        np.testing.assert_array_equal(parts.features, encoding.run())
    with kept_parts(path, encoding) as parts:
        assert parts.found == 0


def test_the_lock_of_a_directory_that_was_just_removed_is_not_taken(
    encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may end between our opening its lock file and our taking the lock."""
    path, real, taken = tmp_path / "x.partial", fcntl.flock, []

    def flock(file: Any, how: int) -> None:
        real(file, how)
        taken.append(how)
        if len(taken) == 1:
            (path / LOCK).unlink()
            path.rmdir()

    monkeypatch.setattr(fcntl, "flock", flock)
    with kept_parts(path, encoding):
        assert len(taken) == 2
        assert (path / PLAN).exists()


def test_a_directory_of_other_things_is_left_alone(encoding: Encoding, tmp_path: Path) -> None:
    (tmp_path / "x.partial").mkdir()
    (tmp_path / "x.partial" / "thesis.txt").write_text("precious")
    with pytest.raises(InvalidInput, match="holds other files but no lock"):  # noqa: SIM117
        with kept_parts(tmp_path / "x.partial", encoding, replace=True):
            pytest.fail("unreachable")
    assert [file.name for file in (tmp_path / "x.partial").iterdir()] == ["thesis.txt"]


def test_a_full_disk_is_a_sentence(encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InvalidInput, match=r"cannot keep the parts of the build in .*: No space left on device"):  # noqa: SIM117
        with kept_parts(tmp_path / "x.partial", encoding):
            pytest.fail("unreachable")


def test_features_on_disk_take_no_second_copy_in_memory(encoding: Encoding, tmp_path: Path) -> None:
    with kept_parts(tmp_path / "x.partial", encoding) as parts:
        assert isinstance(parts, Parts)
        assert encoding.run(shelf=parts) is parts.features
        assert isinstance(parts.features, np.memmap)
