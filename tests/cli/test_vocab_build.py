"""`candor vocab build`: what it says, what it leaves, and that no kill can spoil it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from candor.clip.backbone import Backbone
from cli.main import app
from vocab_index.encoding import Encoding
from vocab_index.index import VocabularyIndex
from vocab_index.parts import kept_parts
from vocab_index.sources.words import WordList

runner = CliRunner()
WORDS = [f"{colour} {sign}" for colour in ("red", "teal", "plum") for sign in ("anchor", "sun", "ankh")]
KILLS = 10


@pytest.fixture
def words(tmp_path: Path) -> Path:
    (tmp_path / "words.txt").write_text("\n".join([*WORDS, "", "RED SUN", "x " * 90, "&nbsp;"]))
    return tmp_path / "words.txt"


def _files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_summary_names_what_was_left_out_and_why(words: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["vocab", "build", "--source", str(words), "--out", str(tmp_path / "index")])
    assert result.exit_code == 0, result.output
    assert "9 words of words.txt under 'a picture of a {}.' -> " in result.stdout
    assert "index type flat: " in result.stdout
    assert "left out: 1 blank, 1 repeated, 1 too long, 1 no text" in result.stdout
    assert "too long for glyph-clip, such as: 'x x x" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "words.txt"]


def test_json_and_several_templates(words: Path, tmp_path: Path) -> None:
    command = ["vocab", "build", "--source", str(words), "--out", str(tmp_path / "index"), "--json"]
    result = runner.invoke(app, [*command, "--template", "a {}.", "--template", "two {}s", "--index-type", "flat"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    index = VocabularyIndex.load(tmp_path / "index")
    assert (summary["words"], summary["digest"], summary["precision"]) == (9, index.digest, "fp32")
    assert summary["templates"] == ["a {}.", "two {}s"] == list(index.templates)
    assert summary["dropped"]["too long"] == 1
    assert set(index.words) == set(WORDS)


def test_wordnet_brings_its_notice_and_what_it_knows(tmp_path: Path) -> None:
    command = ["vocab", "build", "--category", "shape", "--out", str(tmp_path / "index")]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    index = VocabularyIndex.load(tmp_path / "index")
    assert len(index) == 389  # lemmas whose first sense is a shape, WordNet 3.0
    assert {index.metadata(row)["category"] for row in range(len(index))} == {"shape"}
    assert all(index.metadata(row)["gloss"] for row in range(len(index)))
    assert "Princeton University" in (tmp_path / "index" / "LICENSE.wordnet").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--template", "a {}.", "--template", "a {}."], "is given twice"),
        (["--template", "x " * 80 + "{}"], "no word of vocabulary 'words.txt' fits glyph-clip"),
        (["--index-type", "hnsw"], "hnsw"),
        (["--precision", "int8"], "int8"),
    ],
)
def test_bad_input_leaves_nothing(words: Path, tmp_path: Path, more: list[str], message: str) -> None:
    result = runner.invoke(app, ["vocab", "build", "--source", str(words), "--out", str(tmp_path / "index"), *more])
    assert result.exit_code == 2
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["words.txt"]


def test_parts_of_another_build_are_named(words: Path, tmp_path: Path, tiny_clip: Backbone) -> None:
    other = Encoding.of(tiny_clip, WordList("other", ("sun", "moon"), {}), "a {}.")
    with pytest.raises(InterruptedError), kept_parts(tmp_path / "index.partial", other):
        raise InterruptedError
    command = ["vocab", "build", "--source", str(words), "--out", str(tmp_path / "index")]
    result = runner.invoke(app, command)
    assert result.exit_code == 2
    assert "index.partial holds an unfinished build of something else (source 'other', not 'words.txt')" in result.stderr
    assert not (tmp_path / "index").exists()
    assert runner.invoke(app, [*command, "--replace"]).exit_code == 0
    assert not (tmp_path / "index.partial").exists()


def test_two_builds_at_once_into_one_place(words: Path, tmp_path: Path, tiny_clip: Backbone) -> None:
    other = Encoding.of(tiny_clip, WordList("other", ("sun", "moon"), {}), "a {}.")
    with kept_parts(tmp_path / "index.partial", other):
        result = runner.invoke(app, ["vocab", "build", "--source", str(words), "--out", str(tmp_path / "index")])
    assert result.exit_code == 2
    assert "another process is building in" in result.stderr


def _start(out: Path) -> subprocess.Popen[bytes]:
    command = ["-c", "from cli.main import main; main()", "vocab", "build", "--source", "glyphs", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, *command], cwd=root, env=environment, stderr=subprocess.PIPE)


def _kept(directory: Path) -> int:
    """Shards that a build there keeps; one more once it writes the index."""
    return len(list(directory.glob("index.partial/*.sha256"))) + len(list(directory.glob(".index.*/index.faiss")))


def _kill(process: subprocess.Popen[bytes], directory: Path, goal: int, delay: float) -> int:
    """Kill once so many shards are kept, and a moment later; the exit code."""
    while process.poll() is None and _kept(directory) < goal:
        time.sleep(0.001)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode


@pytest.mark.slow
@pytest.mark.timeout(900)  # a dozen starts of Python with torch
def test_ten_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    """The glyph vocabulary is 7 shards: kills come before, among and behind them, and while files are written."""
    whole, directory = tmp_path / "whole" / "index", tmp_path / "killed"
    complete = _start(whole)
    assert complete.communicate()[1] == b""
    assert len(VocabularyIndex.load(whole)) == 12_599
    draw, out, killed = random.Random(0), directory / "index", 0
    for goal in (0, 1, 2, 0, 3, 4, 5, 6, 7, 8):
        delay = draw.uniform(0, 2) if goal == 0 else draw.uniform(0, 0.02)
        killed += _kill(_start(out), directory, goal, delay) == -signal.SIGKILL
        assert not out.exists() or _files(out) == _files(whole)
    assert killed >= KILLS - 2  # behind the last shard, a build may be faster than the kill
    if not out.exists():
        last = _start(out)
        assert b"going on with a build that was stopped" in last.communicate()[1]
        assert not (directory / "index.partial").exists()
    assert _files(out) == _files(whole)
