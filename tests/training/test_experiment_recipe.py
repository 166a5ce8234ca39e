"""Recipes: errors are one sentence, and every recipe of the repository can be run as its first line says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from candor.errors import InvalidInput
from glyph_world.tasks import TASKS, find_task
from training.config import load_config
from training.data import ImageDataset
from training.datasets import DATASETS
from training.datasets.templates import TEMPLATES
from training.experiment.job import Job, dataset_digest
from training.experiment.recipe import RECIPES, load_recipe
from training.methods import METHODS

SHIPPED = sorted(path.stem for path in RECIPES.glob("*.yaml"))
WORKING = {
    "name": "mine",
    "title": "Mine",
    "datasets": ["glyphs/things"],
    "methods": ["zero-shot", "coop+dor"],
    "seeds": [1, 2],
    "train": {"epochs": 3, "outliers": {"pool": 7}},
}


def written(tmp_path: Path, changes: dict[str, object]) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(WORKING | changes))
    return str(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seedz": [1]}, "seedz: Extra inputs are not permitted"),
        ({"train": {"epoch": 3}}, r"train\.epoch: Extra inputs are not permitted"),
        ({"train": {"seed": 3}}, "train.seed is decided by `seeds`"),
        ({"train": {"weights": {"dor": 2.0}}, "methods": ["coop"]}, "method 'coop' has no regulariser dor"),
        ({"methods": ["magic"]}, "unknown method 'magic'; valid: coop"),
        ({"methods": []}, r"nothing to run; give methods \(zero-shot, coop"),
        ({"methods": ["coop", "coop"]}, "methods holds a value twice"),
        ({"datasets": []}, "datasets: "),
        ({"datasets": ["nowhere"]}, "unknown data set 'nowhere'; valid: glyphs"),
        ({"seeds": []}, "seeds: "),
        ({"seeds": [-1]}, r"seeds\.0: .*greater than or equal to 0"),
        ({"seeds": [1, True]}, r"seeds\.1: .*valid integer"),
        ({"seeds": [1.0]}, r"seeds\.0: .*valid integer"),
        ({"seeds": ["1"]}, r"seeds\.0: .*valid integer"),
        ({"seeds": [1, 1]}, "seeds holds a value twice: 1, 1"),
        ({"name": "../up"}, "name: "),
        ({"train": {"learner": {"class_specific": True}}}, "knows no new class"),
        ({"fresh_views": True, "train": {"augment": {"views": 0}}}, "augment.views is 0"),
        ({"variants": [{"title": "T", "method": "coop", "rows": {}}]}, r"variants\.0\.rows"),
        ({"variants": [{"title": "T", "method": "coop", "rows": {"a": {"tune": {}}}}]}, r"a\.tune: Extra inputs"),
        ({"variants": [{"title": "T", "method": "coop", "rows": {"a": {"train": {"seed": 1}}}}]}, "T, a: .*`seeds` does"),
        ({"variants": [{"title": "T", "method": "coop", "rows": {"a": {"train": {"epochs": 0}}}}]}, "T, a: epochs: "),
        ({"variants": [{"title": "Methods", "method": "coop", "rows": {"a": {}}}]}, "two tables have one title"),
    ],
)
def test_a_wrong_recipe_is_one_sentence(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as error:
        load_recipe(written(tmp_path, changes))
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    for text, message in (("a: [", "not YAML"), ("- 1", "expected settings"), ("", "name: Field required")):
        path.write_text(text)
        with pytest.raises(InvalidInput, match=message):
            load_recipe(str(path))
    with pytest.raises(InvalidInput, match=r"no recipe 'nope'; recipes: .*glyphs_paper"):
        load_recipe("nope")


def test_a_variant_changes_what_it_names_and_keeps_the_rest(tmp_path: Path) -> None:
    rows = {"far": {"train": {"outliers": {"selection": "far"}}}, "none": {"method": "coop"}}
    table = {"title": "Words", "method": "coop+dor", "rows": rows}
    tables = load_recipe(written(tmp_path, {"variants": [table]})).experiment.tables()
    assert list(tables) == ["Methods", "Words"]
    far, none = tables["Words"]
    assert (far.name, far.method, far.config.outliers.selection, far.config.outliers.pool) == ("far", "coop+dor", "far", 7)
    assert (none.method, none.config.epochs, none.config.outliers.selection) == ("coop", 3, "near")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_starts_with_the_command_that_runs_it(name: str) -> None:
    recipe = load_recipe(name)
    command, *options = recipe.text.splitlines()[0].removeprefix("# ").split(" --")
    assert command == recipe.command == f"candor experiment recipes/{name}.yaml"
    assert recipe.experiment.name == name
    needs_files = [d for d in recipe.experiment.datasets if not d.startswith("glyphs/")]
    assert options == (["root DATA"] if needs_files else [])


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_names_what_exists(name: str) -> None:
    experiment = load_recipe(name).experiment
    for dataset in experiment.datasets:
        family, _, task = dataset.partition("/")
        assert family in DATASETS
        assert (family == "glyphs") == bool(task)
        if task:
            find_task(task)
    methods = {row.method for rows in experiment.tables().values() for row in rows}
    assert methods <= {"zero-shot", *METHODS}


def test_the_recipes_have_the_settings_of_the_tuning_recipes() -> None:
    glyphs, coop = load_recipe("glyphs_paper").experiment, load_recipe("paper_table1_coop").experiment
    assert glyphs.train == load_recipe("glyphs_ablation").experiment.train == load_config("glyphs")
    assert glyphs.methods == ("zero-shot", *METHODS)
    assert (glyphs.datasets, glyphs.seeds) == (tuple(f"glyphs/{task}" for task in TASKS), (1, 2, 3, 4, 5))
    for name in ("paper_table1_coop", "paper_outliers", "paper_lambda_k_b"):
        assert load_recipe(name).experiment.train == load_config("paper")
    kgcoop = load_recipe("paper_table1_kgcoop").experiment
    changed = {"n_ctx": 4, "ctx_init": "a photo of a"}
    assert kgcoop.train.learner == coop.train.learner.model_copy(update=changed)
    assert kgcoop.train.model_copy(update={"learner": coop.train.learner}) == coop.train
    assert (kgcoop.datasets, kgcoop.seeds) == (coop.datasets, coop.seeds)
    assert len(coop.datasets) == 11
    assert set(coop.datasets) <= set(TEMPLATES)


def job(method: str = "coop+dor", fresh_views: bool = False, digests: dict[str, str] | None = None, **train: object) -> Job:
    config = load_config(None, train)
    known = {"backbone": "b", "dataset": "d", "vocabulary": "v"} | (digests or {})
    return Job.of("row", "glyphs/things", method, config, known, fresh_views)


def test_the_key_is_of_what_decides_a_run() -> None:
    assert job().key == job(weights={"dor": 8.0}).key  # 8 is the method's own
    changed = [
        job("coop"),
        job("zero-shot"),
        job(seed=2),
        job(epochs=3),
        job(weights={"dor": 4.0}),
        job(outliers={"pool": 9}),
        job(fresh_views=True),
        job(digests={"backbone": "other"}),
        job(digests={"dataset": "other"}),
        job(digests={"vocabulary": "other"}),
    ]
    assert len({j.key for j in [job(), *changed]}) == 1 + len(changed)


def test_the_key_leaves_out_what_cannot_decide_a_run() -> None:
    assert job("coop").key == job("coop", outliers={"pool": 9}, digests={"vocabulary": "other"}).key
    assert job("zero-shot").key == job("zero-shot", epochs=3, seed=2, digests={"vocabulary": "other"}).key
    oracle = {"outliers": {"selection": "oracle"}}
    assert job(**oracle).key == job(**oracle, digests={"vocabulary": "other"}).key
    assert job("kgcoop").key != job("coop").key


def test_the_digest_of_a_data_set(tmp_path: Path) -> None:
    from training.data import Sample

    root, elsewhere = tmp_path / "pics", tmp_path / "elsewhere"
    for name, content in (("x/a.png", b"1234"), ("x/b.png", b"1234"), ("y/a.png", b"1234")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
        os.utime(root / name, ns=(0, 5))
    shutil.copytree(root, elsewhere)

    def samples(*names: str, label: int = 0, root: Path = root) -> tuple[Sample, ...]:
        return tuple(Sample(label, lambda: None, root / name) for name in names)

    def dataset(**changes: object) -> ImageDataset:
        values = {"name": "n", "classnames": ("a", "b"), "template": "a {}.", "train": samples("x/a.png", "y/a.png")}
        return ImageDataset(**values | {"test": samples("x/a.png")} | changes)

    first = dataset_digest(dataset())
    copied = {"train": samples("x/a.png", "y/a.png", root=elsewhere), "test": samples("x/a.png", root=elsewhere)}
    assert dataset_digest(dataset(**copied)) == first  # moved as it is, times and all
    others = [
        dataset(template="{}"),
        dataset(classnames=("a", "c")),
        dataset(test=samples("x/a.png", label=1)),
        dataset(test=samples("x/b.png")),
        dataset(test=samples("y/a.png")),
        dataset(test=samples("x/missing.png")),
        dataset(val=samples("x/a.png")),
        dataset(val=(Sample(0, lambda: None),)),
    ]
    digests = [dataset_digest(d) for d in others]
    os.utime(root / "x" / "a.png", ns=(0, 6))
    digests.append(dataset_digest(dataset()))
    (root / "x" / "a.png").write_bytes(b"12345")
    os.utime(root / "x" / "a.png", ns=(0, 5))
    digests.append(dataset_digest(dataset()))
    assert len({first, *digests}) == 1 + len(digests)
