from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from candor.errors import InvalidInput
from service.feedback.replica import replica_id


def test_many_that_begin_at_once_have_one_name_and_it_stays(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with ThreadPoolExecutor(16) as threads:
        names = set(threads.map(lambda _: replica_id(state), range(64)))
    (name,) = names
    assert re.fullmatch("[0-9a-f]{16}", name)
    assert replica_id(state) == name
    assert [path.name for path in state.iterdir()] == ["replica"]
    assert replica_id(tmp_path / "other") != name


@pytest.mark.parametrize("held", ["", "x" * 16, "../../etc/passwd", "\xff"])
def test_a_damaged_file_is_a_sentence(tmp_path: Path, held: str) -> None:
    (tmp_path / "replica").write_text(held, "latin-1")
    with pytest.raises(InvalidInput, match="holds no name of a replica; remove it"):
        replica_id(tmp_path)


def test_a_directory_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match=r"CANDOR_STATE: .*/file/replica cannot be used: "):
        replica_id(tmp_path / "file")
