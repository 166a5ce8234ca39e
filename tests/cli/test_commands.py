"""The commands: bad input is one sentence and exit code 2, and leaves nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from candor.clip import load_artifact
from cli.main import app
from vocab_index.index import VocabularyIndex

runner = CliRunner()


@pytest.mark.parametrize("command", [[], ["demo"], ["tune"], ["vocab"], ["vocab", "build"], ["serve"]])
def test_help_teaches(command: list[str]) -> None:
    result = runner.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 8


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["vocab", "build", "--source", "nowhere.txt"], "cannot read vocabulary 'nowhere.txt'"),
        (["vocab", "build", "--model", "ViT-Z"], "unknown model 'ViT-Z'"),
        (["vocab", "build", "--model", "ViT-B-32", "--pretrained", "x"], "unknown weights 'x'"),
        (["vocab", "build", "--template", "no place"], "must hold {} exactly once"),
        (["vocab", "build", "--device", "tpu9"], "unknown device 'tpu9'"),
        (["tune", "--method", "magic"], "unknown method 'magic'; valid: coop"),
        (["tune", "--method", "coop", "--dataset", "glyphs/nope"], "unknown glyph task 'nope'; valid: cats-and-cows"),
        (["tune", "--method", "coop", "--config", "nope"], "recipes: glyphs, paper"),
        (["tune"], "give --index"),
        (["tune", "--index", "nowhere"], "manifest.json: expected a file, found nothing"),
        (["tune", "--method", "coop", "--epochs", "0"], "epochs"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, command: list[str], message: str) -> None:
    result = runner.invoke(app, [*command, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output + result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_serving_what_is_not_there(tmp_path: Path) -> None:
    result = runner.invoke(app, ["serve", "--artifact", str(tmp_path)])
    assert result.exit_code == 2
    assert "config.json: expected a file, found nothing" in result.stderr


def test_long_work_is_not_thrown_away_at_its_end(tmp_path: Path) -> None:
    result = runner.invoke(app, ["vocab", "build", "--source", "wordnet", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "exists already" in result.stderr


OTHERS = [
    (["vocab", "build", "--source", "glyphs"], "manifest.json"),
    (["tune", "--method", "coop"], "config.json"),
    (["evaluate", "a", "--dataset", "glyphs/things"], "evaluation.json"),
    (["calibrate", "a"], "config.json"),
    (["demo"], "summary.json"),
]


@pytest.mark.parametrize(("command", "mark"), OTHERS, ids=lambda value: value[0])
@pytest.mark.parametrize(
    ("out", "more", "message"),
    [
        ("home", ["--replace"], "home exists already, and holds other files but no {mark}; choose another path"),
        ("home", [], "home exists already, and holds other files but no {mark}; choose another path"),
        ("home/file", ["--replace"], "home/file is not a directory"),
        ("home/file/a", [], "cannot write to home/file/a"),
        (".", ["--replace"], ". is the working directory or holds it; name a new directory"),
        ("/", [], "/ is the working directory or holds it; name a new directory"),
    ],
)
def test_only_its_own_directory_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], mark: str, out: str, more: list[str], message: str
) -> None:
    """Said before anything else is looked at: the artifacts of the commands are not there at all."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "file").write_text("precious")
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, [*command, "--out", out, *more])
    assert result.exit_code == 2, result.output
    assert message.format(mark=mark) in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["home", "file"]


def test_what_the_command_itself_wrote_is_kept_without_replace(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "manifest.json").write_text("{}")
    command = ["vocab", "build", "--source", "nowhere.txt", "--out", str(tmp_path / "index")]
    refused = runner.invoke(app, command)
    assert "index exists already; choose another --out, or give --replace" in refused.stderr
    assert "cannot read vocabulary" in runner.invoke(app, [*command, "--replace"]).stderr


def test_a_vocabulary_with_brackets_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words[red].txt").write_text("teal sun\n")
    result = runner.invoke(app, ["vocab", "build", "--source", "words[red].txt", "--out", "index[/]"])
    assert result.exit_code == 0, result.output
    assert "words[red]" in result.output
    assert "index[/]" in result.output


@pytest.mark.slow
def test_a_words_file_and_a_short_tuning(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text(
        "\n".join(f"{colour} {sign}" for colour in ("red", "teal", "plum") for sign in ("anchor", "sun", "ankh"))
    )
    built = runner.invoke(app, ["vocab", "build", "--source", str(words), "--out", str(tmp_path / "index")])
    assert built.exit_code == 0, built.output
    assert len(VocabularyIndex.load(tmp_path / "index")) == 9
    command = ["tune", "--method", "coop+dor", "--dataset", "glyphs/things", "--index", str(tmp_path / "index")]
    command += ["--out", str(tmp_path / "artifact"), "--epochs", "3", "--shots", "2", "--seed", "7"]
    tuned = runner.invoke(app, [*command, "--json"])
    assert tuned.exit_code == 0, tuned.output
    report = json.loads(tuned.stdout)
    artifact = load_artifact(tmp_path / "artifact")
    assert artifact.tag == report["tag"]
    assert artifact.config.evaluation["new"] == pytest.approx(report["evaluation"]["coop+dor"]["new"])
    assert artifact.config.seed == 7
    assert len(artifact.config.base_classnames) == 13
    again = runner.invoke(app, [*command, "--replace"])
    assert again.exit_code == 0
    assert load_artifact(tmp_path / "artifact").config.prompt_sha256 == artifact.config.prompt_sha256  # bit for bit
