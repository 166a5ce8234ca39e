"""A directory is written whole or not at all, and replaces only what was written by the same hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from candor.errors import InvalidInput
from candor.files import check_target, whole_directory, write_new, write_whole

MARK = "mark.json"


def write(path: Path, replace: bool = False) -> None:
    with whole_directory(path, replace, mark=MARK) as draft:
        (draft / MARK).write_text("new")


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_nothing_is_left_of_a_block_that_fails(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_directory(tmp_path / "a", mark=MARK) as draft:
        (draft / "half").write_text((tmp_path / "nowhere").read_text())
    assert names(tmp_path) == []


def test_what_is_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    write(tmp_path / "a")
    (tmp_path / "a" / "more").write_text("1")
    with pytest.raises(InvalidInput, match="exists already"):
        write(tmp_path / "a")
    assert names(tmp_path) == ["a", "a/mark.json", "a/more"]
    write(tmp_path / "a", replace=True)
    assert names(tmp_path) == ["a", "a/mark.json"]


def test_an_empty_directory_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write(tmp_path / "a", replace=True)
    assert names(tmp_path) == ["a", "a/mark.json"]


def test_a_directory_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    """Neither a home folder, nor one in which the mark is the name of a folder."""
    (tmp_path / "a" / MARK).mkdir(parents=True)
    (tmp_path / "a" / "thesis.tex").write_text("precious")
    with pytest.raises(InvalidInput, match=r"a exists already, and holds other files but no mark\.json"):
        write(tmp_path / "a", replace=True)
    assert names(tmp_path) == ["a", "a/mark.json", "a/thesis.tex"]


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file", "file is not a directory"),
        ("file/a", "cannot write to .*file/a: .*file is not a directory"),
        ("file/a/b", "cannot write to .*file/a/b: .*file is not a directory"),
    ],
)
def test_a_file_in_the_way(tmp_path: Path, place: str, message: str, replace: bool) -> None:
    (tmp_path / "file").write_text("precious")
    for attempt in (write, lambda path, replace: check_target(path, replace, mark=MARK)):
        with pytest.raises(InvalidInput, match=message):
            attempt(tmp_path / place, replace)
    assert (tmp_path / "file").read_text() == "precious"
    assert names(tmp_path) == ["file"]


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot write to .*: File name too long"):
        write(tmp_path / ("x" * 300))


@pytest.mark.parametrize("place", ["/", ".", "..", "../here"])
@pytest.mark.parametrize("replace", [False, True])
def test_the_working_directory_and_what_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, replace: bool
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / MARK).write_text("old")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InvalidInput, match=rf"^{place} is the working directory or holds it; name a new directory"):
        write(Path(place), replace)
    assert names(tmp_path) == ["here", "here/mark.json"]


def test_what_appears_during_the_work_is_kept(tmp_path: Path) -> None:
    work = whole_directory(tmp_path / "a", mark=MARK)
    (work.__enter__() / MARK).write_text("new")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "other").write_text("precious")
    with pytest.raises(InvalidInput, match="exists already"):
        work.__exit__(None, None, None)
    assert names(tmp_path) == ["a", "a/other"]


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / MARK).write_text("old")
    (tmp_path / "link").symlink_to("far")
    write(tmp_path / "link", replace=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / MARK).read_text() == "new"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InvalidInput, match="loop is not a directory"):
        write(tmp_path / "loop", replace=True)
    assert names(tmp_path) == ["far", "far/mark.json", "link", "loop"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "file", "é\n")
    assert (tmp_path / "new" / "file").read_bytes() == "é\n".encode()
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "new" / "file", "longer than before, and \ud800")
    assert (tmp_path / "new" / "file").read_bytes() == "é\n".encode()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_a_new_file_is_made_once_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file"
    assert write_new(path, "first", 0o600)
    assert not write_new(path, "second", 0o644)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("first", 0o600)
    assert names(tmp_path) == ["a", "a/file"]


def test_a_file_and_its_name_are_on_the_disk_before_it_counts_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synchronised last: the directory, when it has the name already."""
    seen: list[tuple[bool, bool]] = []
    path = tmp_path / "file"

    def fsync(number: int) -> None:
        seen.append((os.path.samestat(os.fstat(number), tmp_path.stat()), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(path, "a")
    assert seen == [(False, False), (True, True)]
    path.unlink()
    assert write_new(path, "b")
    assert seen[2:] == [(False, False), (True, True)]
