"""`candor tune` on people's own photographs, and what it says of runs that were stopped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from candor.clip import Backbone, load_artifact
from cli.main import app
from vocab_index.index import VocabularyIndex
from vocab_index.sources.words import collect

runner = CliRunner()
MODES = ("RGB", "L", "CMYK", "P", "I;16", "RGBA")
CLASSES = ("arctic_fox", "brown_bear", "snowy_owl", "grey_seal")


def photograph(mode: str, seed: int) -> tuple[Image.Image, str]:
    """A picture of random blobs in one of Pillow's modes, a size of its own, and the suffix of a format that holds it."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))
    picture = small.resize((int(rng.integers(20, 300)), int(rng.integers(20, 300))), Image.Resampling.BICUBIC)
    if mode == "I;16":
        return Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257), ".png"
    return picture.convert(mode), ".jpg" if mode in ("RGB", "L", "CMYK") else ".png"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    for number, name in enumerate(CLASSES):
        (root / name).mkdir()
        for i in range(12):
            picture, suffix = photograph(MODES[i % len(MODES)], 100 * number + i)
            picture.save(root / name / f"IMG_{i:03}{suffix}")
    (root / "arctic_fox" / "notes.txt").write_text("not a picture")
    return root


def tune(root: Path, out: Path, *more: str) -> list[str]:
    options = ["--dataset", "imagefolder", "--root", str(root), "--method", "kgcoop", "--shots", "3", "--epochs", "2"]
    return ["tune", *options, "--out", str(out), *more]


def test_photographs_of_all_modes_and_sizes(photographs: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, [*tune(photographs, tmp_path / "a", "--template", "a picture of a {}."), "--json"])
    assert result.exit_code == 0, result.output
    artifact = load_artifact(tmp_path / "a")
    assert artifact.config.base_classnames == ("arctic_fox", "brown_bear")
    assert artifact.config.template == "a picture of a {}."
    assert set(json.loads(result.stdout)["evaluation"]["kgcoop"]) == {"base", "new"}
    assert sum(artifact.config.reference["base"].reliability.count) == 12  # half of each class is test
    history = json.loads((tmp_path / "a" / "report" / "history.json").read_text())
    assert len(history) == 2
    assert list(history[0])[:2] == ["cross_entropy_loss", "kgcoop_loss"]


def test_an_unreadable_photograph_is_named_or_skipped(photographs: Path, tmp_path: Path) -> None:
    for source in photographs.rglob("*"):
        if source.is_file():
            copy = tmp_path / "root" / source.relative_to(photographs)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
    broken = tmp_path / "root" / "grey_seal" / "IMG_000.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    refused = runner.invoke(app, tune(tmp_path / "root", tmp_path / "a"))
    assert refused.exit_code == 2
    assert "IMG_000.jpg" in refused.stderr
    assert not (tmp_path / "a").exists()
    skipped = runner.invoke(app, tune(tmp_path / "root", tmp_path / "a", "--skip-bad"))
    assert skipped.exit_code == 0, skipped.output
    assert "1 images cannot be read" in skipped.stderr.replace("\n", " ")


def test_a_stopped_run_is_gone_on_with_or_replaced(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "a.partial").mkdir()
    refused = runner.invoke(app, tune(photographs, tmp_path / "a"))
    assert refused.exit_code == 2
    assert "go on with --resume" in refused.stderr.replace("\n", " ")
    assert runner.invoke(app, tune(photographs, tmp_path / "a", "--resume")).exit_code == 0
    assert not (tmp_path / "a.partial").exists()
    again = runner.invoke(app, tune(photographs, tmp_path / "a", "--resume"))
    assert again.exit_code == 0
    assert "is complete" in " ".join(again.output.split())
    for change in (["--seed", "9"], ["--template", "one {}."]):
        other = runner.invoke(app, tune(photographs, tmp_path / "a", "--resume", *change))
        assert other.exit_code == 2
        assert "a finished run with other settings" in " ".join(other.stderr.split())


def test_a_stopped_run_is_not_thrown_away_for_a_mistake(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "a.partial").mkdir()
    for mistake in (["--config", "nope"], ["--template", "no place"], ["--model", "ViT-Z"]):
        assert runner.invoke(app, tune(photographs, tmp_path / "a", "--replace", *mistake)).exit_code == 2
        assert (tmp_path / "a.partial").is_dir()
    (tmp_path / "file").write_text("")
    refused = runner.invoke(app, tune(photographs, tmp_path / "a", "--replace", "--tensorboard", str(tmp_path / "file")))
    assert "takes a directory" in " ".join(refused.stderr.split())


def test_every_class_may_have_its_own_context(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "learner: {n_ctx: 4, class_specific: true}\nshots: 2\nepochs: 2\nlearning_rate: 0.01\n"
    )
    result = runner.invoke(app, tune(photographs, tmp_path / "a", "--config", str(tmp_path / "own.yaml")))
    assert result.exit_code == 0, result.output
    assert set(load_artifact(tmp_path / "a").config.evaluation) == {"base"}


def test_an_index_gives_the_artifact_thresholds_of_both_scores(
    photographs: Path, tmp_path: Path, glyph_clip: Backbone
) -> None:
    index = VocabularyIndex.build(glyph_clip, collect("few", ["red sun", "blue cloud", "anchor", "urn"]))
    index.save(tmp_path / "index")
    result = runner.invoke(app, tune(photographs, tmp_path / "a", "--index", str(tmp_path / "index")))
    assert result.exit_code == 0, result.output
    plain, vocabulary = load_artifact(tmp_path / "a").config.open_set
    assert (plain.score, plain.vocabulary, plain.labels, plain.images) == ("mcm", None, 2, 6)
    assert (vocabulary.score, vocabulary.vocabulary, vocabulary.images) == ("neglabel", index.digest, 6)
    assert "open set: neglabel >= " in result.stdout
