"""What workers of one server tell each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service import siblings
from service.siblings import Siblings


def test_one_that_is_alone_hears_nothing_and_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(siblings.VARIABLE, raising=False)
    alone = Siblings.of_this_server()
    alone.tell_active("a")
    assert alone.active() is None
    alone.join()
    assert alone.leave()


def test_the_last_word_counts_for_all_and_costs_one_stat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Siblings(tmp_path), Siblings(tmp_path)
    assert (one.active(), other.active()) == (None, None)
    for tag in ("coop+dor-1", "zero-shot", "coop+dor-2"):
        one.tell_active(tag)
        assert (one.active(), other.active()) == (tag, tag)
    other.tell_active("coop-3")
    assert one.active() == "coop-3"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("it was read again"))
    assert one.active() == "coop-3"
    (tmp_path / siblings.ACTIVE).unlink()  # the server is ending
    assert one.active() == "coop-3"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_exactly_the_last_one_that_leaves_is_the_last(tmp_path: Path, number: int) -> None:
    crew = [Siblings(tmp_path) for _ in range(number)]
    for each in crew:
        each.join()
        each.join()  # again makes no difference
    assert [each.leave() for each in crew] == [False] * (number - 1) + [True]


WORKER = """
import sys
from pathlib import Path
from service.siblings import Siblings
me = Siblings(Path(sys.argv[1]))
me.join()
print("there", flush=True)
sys.stdin.readline()
print(me.leave(), flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
def test_of_processes_that_leave_at_once_one_is_the_last_and_a_killed_one_does_not_count(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def say(worker: subprocess.Popen[str]) -> None:
        assert worker.stdin
        worker.stdin.write("\n")
        worker.stdin.flush()

    def hear(worker: subprocess.Popen[str]) -> str:
        assert worker.stdout
        return worker.stdout.readline().strip()

    workers = [start() for _ in range(4)]
    assert [hear(worker) for worker in workers] == ["there"] * 4
    workers[0].kill()
    workers[0].wait()
    for worker in workers[1:]:
        say(worker)
    assert sorted(hear(worker) for worker in workers[1:]) == ["False", "False", "True"]
    for worker in workers[1:]:
        say(worker)
    for worker in workers:
        worker.wait(20)
        for pipe in (worker.stdin, worker.stdout):
            assert pipe
            pipe.close()


def test_the_directory_goes_with_the_process_that_made_it(tmp_path: Path) -> None:
    code = f"""
import os, tempfile
tempfile.tempdir = {str(tmp_path)!r}
from service.siblings import VARIABLE, Siblings, open_shared_directory
open_shared_directory()
Siblings.of_this_server().tell_active("x")
print(os.environ[VARIABLE], os.path.isdir(os.environ[VARIABLE]), oct(os.stat(os.environ[VARIABLE]).st_mode & 0o777))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found[1:] == ["True", "0o700"]
    assert Path(found[0]).parent == tmp_path
    assert list(tmp_path.iterdir()) == []
    assert siblings.VARIABLE not in os.environ
