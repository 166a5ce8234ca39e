"""`candor vocab evaluate`: the open-set table, its files, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from candor.clip.backbone import Backbone
from candor.files import file_digest
from cli.main import app
from glyph_world import TEMPLATE
from training.glyphs import other_pictograms
from vocab_index.index import VocabularyIndex
from vocab_index.sources.words import collect

runner = CliRunner()
TASK = "glyphs/emblems-and-notes"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, glyph_clip: Backbone) -> Path:
    path = tmp_path_factory.mktemp("open-set") / "index"
    words = collect("few", [f"{colour} {sign}" for colour in ("red", "blue") for sign in ("sun", "cloud", "anchor", "urn")])
    VocabularyIndex.build(glyph_clip, words, TEMPLATE).save(path)
    return path


@pytest.fixture(autouse=True)
def _few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["cli.vocab.evaluate"], "other_pictograms", lambda task: other_pictograms(task, 1)[::8])


def run(*arguments: object) -> tuple[int, str, str]:
    result = runner.invoke(app, ["vocab", "evaluate", *map(str, arguments)], env={"COLUMNS": "160"})
    return result.exit_code, result.stdout, result.stderr


def test_the_table_and_the_files(tmp_path: Path, index: Path) -> None:
    options = ("--dataset", TASK, "--index", index, "--per-class", 2, "--seeds", "1,2", "--out", tmp_path / "out")
    code, out, err = run(*options)
    assert code == 0, err
    shown = ("zero-shot: other classes", "zero-shot: no class", "mcm", "max cosine", "neglabel", "few, 8 words", "2 seeds")
    assert not [text for text in shown if text not in out]
    document = json.loads((tmp_path / "out" / "open_set.json").read_text())
    assert {row["known_images"] for row in document["runs"]} == {2 * 13}
    row = next(r for r in document["rows"] if (r["score"], r["unknown"]) == ("mcm", "other classes"))
    assert f"{100 * row['auroc']['mean']:.1f} ± {100 * row['auroc']['std']:.1f}" in out
    before = {path.name: file_digest(path) for path in (tmp_path / "out").iterdir() if path.suffix != ".png"}
    code, _, err = run(*options)
    assert (code, "exists already" in err) == (2, True)
    code, again, _ = run(*options, "--replace", "--json")
    assert code == 0
    assert json.loads(again) == document
    assert {name: file_digest(tmp_path / "out" / name) for name in before} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "1,two"], "such as 1,2,3; got '1,two'"),
        (["--seeds", "1,1"], "got '1,1'"),
        (["--seeds", "-1"], "got '-1'"),
        (["--true-positive-rate", "0"], "above 0 and at most 1, got 0"),
        (["--dataset", "nope"], "unknown data set 'nope'"),
        (["--dataset", "glyphs/nope"], "unknown glyph task 'nope'"),
        (["--index", "nowhere"], "expected a file, found nothing"),
        (["--artifact", "nowhere"], "expected a file, found nothing"),
        (["--model", "nope"], "unknown model 'nope'"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], message: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
