"""Kept label sets: written whole, read again, bounded; no name leaves the directory, no damaged file is lost."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from candor.errors import InvalidInput
from service.errors import ApiError
from service.labels.spec import LabelSetSpec
from service.labels.store import LabelSetStore

SPEC = LabelSetSpec(labels=("cat", "Blue_dog"), templates=("a {}.",), threshold=0.5, thresholds={"cat": 0.9})
OTHER = LabelSetSpec(labels=("sun",))


def status(error: pytest.ExceptionInfo[ApiError]) -> tuple[int, str | None]:
    return error.value.status, error.value.field


@pytest.mark.parametrize("kept", [True, False])
def test_put_get_replace_delete(tmp_path: Path, kept: bool) -> None:
    store = LabelSetStore(tmp_path / "sets" if kept else None)
    assert store.names() == []
    assert store.put("shop", SPEC)
    assert store.put("2.garden-x_Y", OTHER)
    assert (store.get("shop"), store.names()) == (SPEC, ["2.garden-x_Y", "shop"])
    assert not store.put("shop", OTHER)
    assert store.get("shop") == OTHER
    store.delete("shop")
    assert store.names() == ["2.garden-x_Y"]
    for act in (store.get, store.delete):
        with pytest.raises(ApiError, match=r"no label set 'shop'; there are 2\.garden-x_Y") as error:
            act("shop")
        assert status(error) == (404, "name")


def test_they_are_there_after_a_restart(tmp_path: Path) -> None:
    store = LabelSetStore(tmp_path / "deep" / "sets")
    store.put("a", SPEC)
    store.put("b", OTHER)
    store.put("b", SPEC)
    store.put("c", OTHER)
    store.delete("a")
    again = LabelSetStore(tmp_path / "deep" / "sets")
    assert {name: again.get(name) for name in again.names()} == {"b": SPEC, "c": OTHER}
    assert sorted(path.name for path in (tmp_path / "deep" / "sets").iterdir()) == ["b.json", "c.json"]


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    LabelSetStore(tmp_path).put("a", SPEC)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "-x", "a/b", "../x", "a\\b", "a\0", "a\n", "x" * 65, "ä", "a b", "%2e", "\ud800", "٣"],
)
def test_no_name_leaves_the_directory(tmp_path: Path, name: str) -> None:
    store = LabelSetStore(tmp_path / "sets")
    with pytest.raises(ApiError, match="1 to 64 letters") as error:
        store.put(name, SPEC)
    assert status(error) == (422, "name")
    for act in (store.get, store.delete):
        with pytest.raises(ApiError) as error:
            act(name)
        assert status(error) == (404, "name")
    assert list(tmp_path.iterdir()) == []


def test_names_differ_in_more_than_case(tmp_path: Path) -> None:
    store = LabelSetStore(tmp_path)
    store.put("Shop", SPEC)
    with pytest.raises(ApiError, match="'Shop' already") as error:
        store.put("sHOP", OTHER)
    assert status(error) == (409, "name")
    store.delete("Shop")
    assert store.put("sHOP", OTHER)


def test_their_number_is_bounded() -> None:
    store = LabelSetStore(None, most=2)
    store.put("a", SPEC)
    store.put("b", SPEC)
    with pytest.raises(ApiError, match="2 label sets are kept, which is the most") as error:
        store.put("c", SPEC)
    assert status(error) == (409, "name")
    assert not store.put("a", OTHER)  # one that is there can be replaced
    store.delete("b")
    assert store.put("c", SPEC)


DAMAGED = [
    b"",
    b"{",
    b"null",
    b"\xff\xfe",
    b'{"labels": []}',
    b'{"labels": ["cat", "CAT"]}',
    b'{"labels": ["cat"], "threshold": 2}',
    b'{"labels": ["cat"], "threshold": NaN}',
    b'{"labels": ["cat"], "thresholds": {"cat": -1}}',
    b'{"labels": ["cat"], "more": 1}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_left_out_and_left_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    LabelSetStore(tmp_path).put("good", SPEC)
    (tmp_path / "bad.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        store = LabelSetStore(tmp_path)
    assert store.names() == ["good"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(tmp_path / "bad.json") in line
    assert "cat" not in line.replace(str(tmp_path), "")
    assert (tmp_path / "bad.json").read_bytes() == content
    assert store.put("bad", OTHER)  # the place is free, and what was there can still be looked at
    assert (tmp_path / "bad.json.damaged").read_bytes() == content
    assert LabelSetStore(tmp_path).names() == ["bad", "good"]


def test_other_files_do_not_matter(tmp_path: Path) -> None:
    for name in (".a.json", "a.txt", ".good.json.x1y2", "a b.json", f"{'x' * 65}.json"):
        (tmp_path / name).write_text(OTHER.model_dump_json())
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    assert LabelSetStore(tmp_path).names() == []


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LabelSetStore(tmp_path)
    store.put("a", SPEC)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    for name in ("a", "b"):
        with pytest.raises(ApiError, match="No space left on device") as error:
            store.put(name, OTHER)
        assert status(error) == (503, None)
        assert str(tmp_path) not in error.value.message
    assert {name: store.get(name) for name in store.names()} == {"a": SPEC}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text())["labels"] == ["cat", "Blue_dog"]


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInput, match="CANDOR_STATE"):
        LabelSetStore(tmp_path / "file")
    store = LabelSetStore(tmp_path / "file" / "sets")  # it is only made with the first label set
    with pytest.raises(ApiError) as error:
        store.put("a", SPEC)
    assert status(error) == (503, None)


def test_labels_that_read_the_same_are_no_label_set() -> None:
    for labels in ((), ("",), ("_",), ("a_b", "A  B")):
        with pytest.raises(ValidationError):
            LabelSetSpec(labels=labels)
