"""Experiments: a finished run is never repeated, a changed one always is, and the report says what the runs say."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from training.evaluation import ScopeResult
from training.experiment.plan import Vocabulary
from training.experiment.recipe import Experiment, Recipe
from training.experiment.report import write_report
from training.experiment.runner import Finished, Resources, run_experiment
from training.experiment.store import RunStore
from training.experiment.summary import percent, summarise
from training.report import EvaluatedRun
from vocab_index.index import VocabularyIndex
from vocab_index.sources.words import collect

TRAIN = {"shots": 2, "epochs": 2, "batch_size": 4, "learner": {"n_ctx": 2}, "outliers": {"pool": 3}}
VOCABULARY = Vocabulary(collect("few", ["green anchor", "red cat face", "plum sun", "teal ankh"]), "a picture of a {}.")

Run = Callable[..., Finished]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 6 classes with 8 noisy pictures each."""
    root = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0)
    for label in ("blue sun", "green sun", "olive sun", "pink sun", "red sun", "teal sun"):
        (root / label).mkdir()
        for number in range(8):
            Image.fromarray(noise.integers(0, 255, (24, 24, 3), np.uint8)).save(root / label / f"{number}.png")
    return root


def experiment(**changes: object) -> Experiment:
    values = {"name": "t", "title": "T", "datasets": ["imagefolder"], "methods": ["zero-shot", "coop", "coop+dor"]}
    return Experiment.model_validate(values | {"seeds": [1, 2], "train": TRAIN} | changes)


@pytest.fixture
def run(tiny_clip: Backbone, pictures: Path, tmp_path: Path) -> Run:
    def _run(root: Path = pictures, replace: bool = False, **changes: object) -> Finished:
        resources = Resources(tmp_path / "out", workers=0, root=root)
        return run_experiment(experiment(**changes), tiny_clip, VOCABULARY, resources, replace)

    return _run


def files(tmp_path: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").iterdir()}


def test_finished_runs_are_not_repeated(run: Run, tmp_path: Path) -> None:
    half = run(methods=["coop"], seeds=[1])
    assert (half.ran, half.failures) == (1, [])
    first = files(tmp_path)
    whole = run()
    assert (whole.ran, len(whole.records)) == (4, 5)  # zero-shot once, two methods x two seeds, one of them there
    assert first.items() <= files(tmp_path).items()
    before = files(tmp_path)
    again = run()
    assert (again.ran, files(tmp_path)) == (0, before)
    assert {k: r.model_dump() for k, r in again.records.items()} == {k: r.model_dump() for k, r in whole.records.items()}
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_changed_setting_runs_what_depends_on_it(run: Run, tmp_path: Path) -> None:
    run(seeds=[1])
    assert run(seeds=[1], train=TRAIN | {"outliers": {"pool": 2}}).ran == 1  # DOR alone
    assert run(seeds=[1], train=TRAIN | {"epochs": 1}).ran == 2  # both methods, not zero-shot
    assert len(files(tmp_path)) == 6


def test_replace_forgets_finished_runs(run: Run) -> None:
    assert run(methods=["coop"], seeds=[1]).ran == 1
    assert run(methods=["coop"], seeds=[1], replace=True).ran == 1


def test_other_pictures_under_the_same_names_are_run_again(run: Run, pictures: Path, tmp_path: Path) -> None:
    settings = {"methods": ["zero-shot"]}
    assert run(**settings).ran == 1
    shutil.copytree(pictures, tmp_path / "pics2")
    assert run(root=tmp_path / "pics2", **settings).ran == 0  # the same ones in another place
    Image.new("RGB", (24, 24), "red").save(tmp_path / "pics2" / "red sun" / "0.png")
    assert run(root=tmp_path / "pics2", **settings).ran == 1
    assert run(**settings).ran == 0


def test_the_draft_of_a_killed_run_goes_with_its_checkpoint(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "save", lambda *_: 1 / 0)
        assert run(methods=["coop"], seeds=[1]).failures
    (checkpoint,) = (tmp_path / "out" / "checkpoints").iterdir()
    checkpoint.with_name(checkpoint.name + ".draft").write_bytes(b"half a check")
    assert run(methods=["coop"], seeds=[1]).ran == 1
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_equal_rows_are_one_run(run: Run) -> None:
    rows = {"near": {}, "eight": {"train": {"weights": {"dor": 8.0}}}, "none": {"method": "coop"}}
    table = {"title": "Words", "method": "coop+dor", "rows": rows}
    finished = run(seeds=[1], variants=[table])
    assert (finished.ran, sum(len(jobs) for t in finished.tables.values() for jobs in t.values())) == (3, 6)
    assert [r.name for r in finished.runs("Words", "eight")] == ["eight"]


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: text.replace('"seed":1', '"seed":7')])
def test_a_damaged_run_is_run_again(run: Run, tmp_path: Path, damage: Callable[[str], str]) -> None:
    run(methods=["coop"], seeds=[1])
    (path,) = (tmp_path / "out" / "runs").iterdir()
    sound = path.read_text()
    path.write_text(damage(sound))
    assert run(methods=["coop"], seeds=[1]).ran == 1
    old, new = json.loads(sound), json.loads(path.read_text())
    assert old["scopes"] == new["scopes"]
    assert old["prompt"] == new["prompt"]  # bit for bit


def test_a_failing_run_does_not_stop_the_others(run: Run, tmp_path: Path) -> None:
    rows = {"sane": {}, "mad": {"train": {"learning_rate": 1e30, "batch_size": 2}}}
    finished = run(methods=["zero-shot"], variants=[{"title": "Rate", "method": "coop", "rows": rows}])
    assert finished.ran == 3
    assert [what for what, _ in finished.failures] == [f"mad on imagefolder, seed {seed}" for seed in (1, 2)]
    assert all("a smaller learning rate" in why for _, why in finished.failures)
    text = report(tmp_path, finished, methods=["zero-shot"], variants=[{"title": "Rate", "method": "coop", "rows": rows}])
    assert "**Not complete:** mad has 0 of 2 runs." in text
    assert "| mad | – |" in text
    assert "**mad on imagefolder, seed 2**" in text
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert document["tables"]["Rate"]["mad"] is None
    assert len(document["failures"]) == 2


def test_pictures_that_cannot_be_read_fail_their_data_set(run: Run, tmp_path: Path) -> None:
    for label in "abcd":
        (tmp_path / "bad" / label).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "bad" / label / f"{number}.png").write_bytes(b"no picture")
    finished = run(root=tmp_path / "bad")
    assert (finished.ran, [what for what, _ in finished.failures]) == (0, ["images of imagefolder"])
    assert "0.png" in finished.failures[0][1]


def test_data_sets_that_are_not_there_are_named_before_anything_runs(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot read 2 of 3 data sets: dtd \(.*; eurosat \("):
        run(root=tmp_path, datasets=["dtd", "glyphs/things", "eurosat"])
    assert not (tmp_path / "out").exists()


def test_the_index_is_built_when_a_run_needs_it(run: Run, tmp_path: Path, tiny_clip: Backbone) -> None:
    run(methods=["coop"], seeds=[1])
    assert not (tmp_path / "out" / "index").exists()
    run(seeds=[1])
    assert VocabularyIndex.load(tmp_path / "out" / "index", tiny_clip).words == VOCABULARY.words.words


def test_a_given_index_must_be_of_the_recipes_vocabulary(tiny_clip: Backbone, pictures: Path, tmp_path: Path) -> None:
    VocabularyIndex.build(tiny_clip, collect("other", ["sun"]), VOCABULARY.template).save(tmp_path / "index")
    resources = Resources(tmp_path / "out", workers=0, root=pictures, index=tmp_path / "index")
    run_experiment(experiment(methods=["coop"]), tiny_clip, VOCABULARY, resources)
    before = files(tmp_path)
    for replace in (False, True):
        with pytest.raises(InvalidInput, match=r"needs an index of 4 words of few under .*, found 1 words of other"):
            run_experiment(experiment(), tiny_clip, VOCABULARY, resources, replace)
    assert files(tmp_path) == before  # what is finished is not forgotten for a call that cannot run


def report(tmp_path: Path, finished: Finished, **changes: object) -> str:
    recipe = Recipe(Path("own.yaml"), "# text", experiment(**changes))
    write_report(tmp_path / "out", recipe, finished)
    return (tmp_path / "out" / "report.md").read_text()


def test_the_report_says_what_the_runs_say(run: Run, tmp_path: Path) -> None:
    """ECE and accuracy recomputed from the stored predictions with a plain loop, the spread from its definition."""
    finished = run()
    text = report(tmp_path, finished)
    ece: dict[str, list[tuple[float, float]]] = {"coop": [], "coop+dor": []}
    accuracy: dict[str, list[float]] = {"coop": [], "coop+dor": []}
    for path in (tmp_path / "out" / "runs").iterdir():
        stored = json.loads(path.read_text())
        if stored["identity"]["method"] in ece:
            scores = [plain_ece(stored["scopes"][s]["confidence"], stored["scopes"][s]["correct"]) for s in ("base", "new")]
            ece[stored["identity"]["method"]].append((scores[0], scores[1]))
            accuracy[stored["identity"]["method"]].append(np.mean(stored["scopes"]["base"]["correct"]))
    tables = [line.split(" | ") for line in text.splitlines()]
    for method, pairs in ece.items():
        overview, both, _ = [line for line in tables if line[0] == f"| {method}"]
        assert overview[1] == shown(accuracy[method])
        assert overview[3] == both[1] == shown([base for base, _ in pairs])
        assert both[2] == shown([new for _, new in pairs])
        assert both[3] == shown([(base + new) / 2 for base, new in pairs])
        assert both[4] == shown([2 * base * new / (base + new) for base, new in pairs])
    assert text.startswith("# T\n\n```bash\ncandor experiment own.yaml\n```")
    assert "± standard deviation (n - 1) over 2 seeds of the mean over 1 data set." in text


def plain_ece(confidence: list[float], correct: list[int]) -> float:
    total = 0.0
    for left in range(10):
        held = [i for i, c in enumerate(confidence) if min(int(c * 10), 9) == left]
        total += abs(sum(correct[i] for i in held) - sum(confidence[i] for i in held))
    return total / len(confidence)


def shown(values: list[float]) -> str:
    mean = sum(values) / len(values)
    spread = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    return f"{100 * mean:.1f} ± {100 * spread:.1f}"


def test_every_file_of_the_report(run: Run, tmp_path: Path) -> None:
    table = {"title": "Words", "method": "coop+dor", "rows": {"far": {"train": {"outliers": {"selection": "far"}}}}}
    finished = run(seeds=[1], variants=[table])
    text = report(tmp_path, finished, seeds=[1], variants=[table])
    linked = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert linked == ["reliability.png", "confidence.png", "ece_scatter.png", "training.png", "ece_scatter_1.png"]
    assert [name for name in linked if not (tmp_path / "out" / name).is_file()] == []
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert document["tables"]["Methods"]["coop"]["base"]["ece"]["std"] is None  # one seed
    assert len(document["runs"]) == 4
    with (tmp_path / "out" / "evaluation.csv").open() as file:
        names = {row["name"] for row in csv.DictReader(file)}
    assert names == {"zero-shot", "coop", "coop+dor", "Words: far"}
    assert (tmp_path / "out" / "recipe.yaml").read_text() == "# text"
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_the_spread_is_over_seeds_of_the_mean_over_data_sets() -> None:
    """By hand: accuracies 0.2, 0.6 and 0.4, 1.0 give seed means 0.4 and 0.7: mean 0.55, std sqrt(0.045) = 0.2121."""
    accuracies = {("a", 1): 0.2, ("b", 1): 0.6, ("a", 2): 0.4, ("b", 2): 1.0}
    runs = [of_accuracy(dataset, seed, base, 0.5) for (dataset, seed), base in accuracies.items()]
    summary = summarise(runs, ["a", "b"])
    assert summary is not None
    assert summary["base"]["accuracy"].mean == pytest.approx(0.55)
    assert summary["base"]["accuracy"].std == pytest.approx(0.045**0.5)
    assert summary["mean"]["accuracy"].mean == pytest.approx((0.45 + 0.6) / 2)
    assert summary["harmonic_mean"]["accuracy"].mean == pytest.approx((2 * 0.4 * 0.5 / 0.9 + 2 * 0.7 * 0.5 / 1.2) / 2)
    assert percent(summary["base"]["accuracy"]) == "55.0 ± 21.2"


def test_a_seed_without_all_data_sets_does_not_count() -> None:
    runs = [of_accuracy("a", 1, 0.2, 0.5), of_accuracy("b", 1, 0.6, 0.5), of_accuracy("a", 2, 0.9, 0.5)]
    summary = summarise(runs, ["a", "b"])
    assert summary is not None
    assert summary["base"]["accuracy"].mean == pytest.approx(0.4)
    assert percent(summary["base"]["accuracy"]) == "40.0"
    assert summarise(runs[1:], ["a", "b"]) is None


def of_accuracy(dataset: str, seed: int, base: float, new: float) -> EvaluatedRun:
    def scope(accuracy: float) -> ScopeResult:
        return ScopeResult(np.full(10, 0.5), np.arange(10) < round(10 * accuracy), fd=1.0, text_deviation=0.0)

    return EvaluatedRun("row", dataset, "coop", seed, {"base": scope(base), "new": scope(new)})
