"""`candor vocab search` and `outliers` on a small vocabulary: what they show is what the index and the pool say."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from candor.clip.backbone import Backbone
from candor.images import decode_image
from cli.main import app
from vocab_index.index import VocabularyIndex
from vocab_index.outliers import OutlierPool
from vocab_index.sources.words import WordList

runner = CliRunner()
TEMPLATES = ("a picture of a {}.", "a {}")
THINGS = ("red cat face", "blue umbrella", "green sun", "old anchor", "umbrella", "black cats", "pear", "the sun", "owl")
METADATA = tuple(
    {"id": row, "note": "", "gloss": f"[bold]thing[/] \x1b[31m{name}", "category": "artifact", "tags": ["a"]}
    for row, name in enumerate(THINGS)
)


@pytest.fixture(scope="module")
def index(glyph_clip: Backbone) -> VocabularyIndex:
    return VocabularyIndex.build(glyph_clip, WordList("things", THINGS, {}, METADATA), TEMPLATES)


@pytest.fixture(scope="module")
def saved(index: VocabularyIndex, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("vocabulary") / "index"
    index.save(path)
    return str(path)


def ask(*command: str) -> Result:
    return runner.invoke(app, ["vocab", *command])


def answer(*command: str) -> dict:
    result = ask(*command, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def features(clip: Backbone, *names: str) -> torch.Tensor:
    """normalise(mean over templates), a name and a template at a time, in float64."""
    rows = []
    for name in names:
        mean = sum(clip.encode_text([t.replace("{}", name)])[0].double() for t in TEMPLATES) / len(TEMPLATES)
        rows.append(mean / mean.norm())
    return torch.stack(rows)


def expected(index: VocabularyIndex, query: torch.Tensor, k: int) -> list[tuple[str, float]]:
    vectors = torch.from_numpy(index.store.inner_products(query.float().numpy()[None])[0])
    order = vectors.argsort(descending=True)[:k].tolist()
    return [(index.words[row], pytest.approx(vectors[row].item(), abs=1e-5)) for row in order]


def labels_of(result: dict) -> list[tuple[str, float]]:
    return [(word["label"], word["similarity"]) for word in result["nearest"]]


def test_a_text_is_looked_up_as_a_word_of_the_vocabulary(index: VocabularyIndex, saved: str, glyph_clip: Backbone) -> None:
    found = answer("search", "--index", saved, "--text", "An  old anchor", "--text", "a small sun", "-k", "4")
    assert (found["vocabulary"], found["words"]) == ("things", len(THINGS))
    assert [result["query"] for result in found["results"]] == ["An  old anchor", "a small sun"]
    for result, name in zip(found["results"], ("old anchor", "small sun"), strict=True):
        assert labels_of(result) == expected(index, features(glyph_clip, name)[0], 4)
    first = found["results"][0]["nearest"][0]
    assert (first["label"], first["metadata"]) == ("old anchor", METADATA[3])
    assert first["similarity"] == pytest.approx(1, abs=1e-5)


def test_an_article_that_is_part_of_a_word_stays(saved: str) -> None:
    for text in ("the sun", "The  SUN"):
        (result,) = answer("search", "--index", saved, "--text", text, "-k", "1")["results"]
        assert labels_of(result) == [("the sun", pytest.approx(1, abs=1e-5))]


def test_a_raw_text_is_encoded_as_it_is(index: VocabularyIndex, saved: str, glyph_clip: Backbone) -> None:
    text = "a picture of a owl."
    (result,) = answer("search", "--index", saved, "--raw", "--text", text)["results"]
    assert labels_of(result) == expected(index, glyph_clip.encode_text([text])[0], len(THINGS))


def test_images_are_looked_up(index: VocabularyIndex, saved: str, glyph_clip: Backbone, tmp_path: Path) -> None:
    paths = [tmp_path / "grey.png", tmp_path / "[red] photo.jpg"]
    Image.linear_gradient("L").save(paths[0])
    Image.new("CMYK", (90, 40), (0, 255, 255, 0)).save(paths[1])
    found = answer("search", "--index", saved, "--image", str(paths[0]), "--image", str(paths[1]), "--k", "3")
    for path, result in zip(paths, found["results"], strict=True):
        picture = glyph_clip.preprocess(decode_image(path.read_bytes()))
        assert result["query"] == str(path)
        assert labels_of(result) == expected(index, glyph_clip.encode_image(picture[None])[0], 3)


def test_the_table_has_the_columns_that_hold_something(saved: str) -> None:
    result = ask("search", "--index", saved, "--text", "pear", "-k", "2")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert lines[0] == ["pear"]
    assert lines[1] == ["label", "similarity", "category", "gloss"]  # not "note", which is empty; nor "id", for room
    assert lines[3][:3] == ["pear", "1.000", "artifact"]
    assert "[bold]thing[/]" in result.stdout  # a stranger's text is no markup, and moves no cursor
    assert "\x1b" not in result.stdout


def test_columns_of_a_vocabulary_of_ones_own(glyph_clip: Backbone, tmp_path: Path) -> None:
    metadata = ({"sku": "A-1", "price": 3.5, "shop": "x"}, {"sku": "A-2", "price": 4, "shop": "y"})
    for name, known in (("known", metadata), ("bare", ())):
        words = WordList("products", ("sun", "owl"), {}, known)
        VocabularyIndex.build(glyph_clip, words).save(tmp_path / name)
    shown = ask("search", "--index", str(tmp_path / "known"), "--text", "sun").stdout.splitlines()
    assert shown[2].split() == ["label", "similarity", "sku", "price"]
    assert shown[4].split() == ["sun", "1.000", "A-1", "3.5"]
    bare = ask("search", "--index", str(tmp_path / "bare"), "--text", "sun").stdout.splitlines()
    assert bare[2].split() == ["label", "similarity"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --image or --text, one of them"),
        (["--text", "x", "--image", "x.png"], "give --image or --text, one of them"),
        (["--image", "nowhere.png"], "nowhere.png: cannot be read"),
        (["--image", "nowhere.png", "--raw"], "--raw is about a --text"),
        (["--text", " "], "--text ' ' is blank"),
        (["--text", "", "--raw"], "holds no character"),
        (["--text", "word " * 200], "too long for the text tower"),
        (["--text", "x", "--k", "0"], "k must be at least 1"),
        (["--text", "x", "--pretrained", "random"], "expected an index of glyph-clip with weights"),
        (["--text", "x", "--index", "nowhere"], "expected a file, found nothing"),
    ],
)
def test_bad_searches_are_one_sentence(saved: str, options: list[str], message: str) -> None:
    result = ask("search", "--index", saved, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("selection", ["near", "far", "random"])
def test_outliers_are_the_pool(
    index: VocabularyIndex, saved: str, glyph_clip: Backbone, selection: str, tmp_path: Path
) -> None:
    out = tmp_path / "pool.csv"
    options = ["--selection", selection, "--seed", "3", "--pool", "6", "-k", "2", "--out", str(out)]
    found = answer("outliers", "--index", saved, "--labels", "cat, Umbrellas,dog", *options)
    base = features(glyph_clip, "cat", "Umbrellas", "dog")
    pool = OutlierPool.select(selection, index, base, 6, ["cat", "umbrella"], 3)
    assert (found["selection"], found["labels"], found["pool"]) == (selection, ["cat", "Umbrellas", "dog"], len(pool.words))
    assert [c["word"] for c in found["shown"]] == list(pool.words[:2])
    contains = {"red cat face": "cat", "black cats": "cat", "blue umbrella": "Umbrellas", "umbrella": "Umbrellas"}
    assert found["left_out"] == [{"word": word, "contains": contains[word]} for word in pool.dropped]
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["word"] for row in rows] == list(pool.words)
    for row, similarity in zip(rows, pool.similarity, strict=True):
        cosines = (base @ features(glyph_clip, row["word"])[0]).tolist()
        assert float(row["similarity"]) == pytest.approx(sum(cosines) / 3, abs=2e-6) == pytest.approx(similarity, abs=2e-6)
        assert float(row["nearest_similarity"]) == pytest.approx(max(cosines), abs=2e-6)
        assert row["nearest_label"] == ["cat", "Umbrellas", "dog"][cosines.index(max(cosines))]
        assert row["id"] == str(THINGS.index(row["word"]))


def test_labels_from_a_file_and_names_to_keep_out(saved: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\n\numbrella\n")
    (tmp_path / "new.txt").write_text("owl\n")
    listed = ["--keep-out", "owl", "--labels", "cat,umbrella"]
    filed = ["--keep-out", str(tmp_path / "new.txt"), "--labels", str(tmp_path / "labels.txt")]
    found = answer("outliers", "--index", saved, *listed)
    assert found == answer("outliers", "--index", saved, *filed)
    assert {c["word"] for c in found["shown"]} == {"green sun", "old anchor", "pear", "the sun"}
    assert {"word": "owl", "contains": "owl"} in found["left_out"]


def test_the_pool_as_a_table(saved: str) -> None:
    result = ask("outliers", "--index", saved, "--labels", "cat,umbrella", "-k", "3")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "near: 5 of 9 words, by mean similarity to 2 labels"
    assert lines[2].split() == ["word", "similarity", "nearest", "label", "category", "gloss"]
    assert sum("artifact" in line for line in lines) == 3
    (left_out,) = [line for line in lines if line.startswith("left out")]
    for named in ("'black cats' (cat)", "'red cat face' (cat)", "'blue umbrella' (umbrella)", "'umbrella' (umbrella)"):
        assert named in left_out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "lables.txt"], "no file 'lables.txt'; labels are a file with one a line, or a list"),
        (["--labels", "runs/labels"], "no file 'runs/labels'"),
        (["--labels", ","], "no labels given"),
        (["--labels", "a,A"], "duplicate labels"),
        (["--labels", "x" * 5000], "too long for the text tower"),
        (["--labels", "cat", "--selection", "oracle"], "unknown selection 'oracle'; valid: near, far, random"),
        (["--labels", "cat", "--pool", "0"], "at least 1 outlier, got k = 0"),
        (["--labels", "cat", "-k", "0"], "--k must be at least 1, got 0"),
        (["--labels", "face,umbrella,sun,anchor,cat,pear,owl"], "no word that does not contain a class name"),
    ],
)
def test_bad_outliers_are_one_sentence(saved: str, options: list[str], message: str) -> None:
    result = ask("outliers", "--index", saved, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["search", "outliers"])
def test_help_has_an_example(command: str) -> None:
    shown = " ".join(ask(command, "--help").output.split())
    assert f"Example: candor vocab {command} --index runs/wordnet" in shown


def test_a_file_in_the_way_of_the_pool_is_kept(saved: str, tmp_path: Path) -> None:
    precious = tmp_path / "pool.csv"
    precious.write_text("keep\n")
    command = ("outliers", "--index", saved, "--labels", "cat", "--out")
    for out, message in (
        (precious, "exists already"),
        (tmp_path, "it is a directory"),
        (precious / "x.csv", "lies in a file"),
        (Path("/proc/none.csv"), "cannot write"),
    ):
        result = ask(*command, str(out))
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())
    assert precious.read_text() == "keep\n"
    assert ask(*command, str(precious), "--replace").exit_code == 0
    assert precious.read_text().startswith("word,")
