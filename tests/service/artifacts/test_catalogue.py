"""What can be served, from a folder, the model store and nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from candor.calibration import TemperatureCalibrator
from candor.calibration.open_set import OpenSetThreshold
from candor.clip import PromptArtifact
from candor.errors import InvalidInput
from service.artifacts.bento_store import keep
from service.artifacts.catalogue import catalogue, find, first_artifact
from service.settings import Settings

Save = Callable[..., PromptArtifact]


def test_all_sources_are_listed(save: Save, folder: Path) -> None:
    one, two, begun = save("one"), save("two", seed=2), save("../elsewhere", seed=3)
    kept = keep(two.path)
    found = catalogue(Settings(artifacts=folder, artifact=str(begun.path)))
    assert [(e.tag, e.name, e.source) for e in found] == [
        (one.tag, "one", "directory"),
        (two.tag, "two", "directory"),
        (begun.tag, "elsewhere", "directory"),
        (two.tag, kept, "store"),
        ("zero-shot", "zero-shot", "zero-shot"),
    ]
    assert [e.problem for e in found] == [None] * 5
    same = catalogue(Settings(artifacts=folder, artifact=str(folder / "one")))
    assert [e.name for e in same if e.source == "directory"] == ["one", "two"]  # not twice


def test_it_is_read_anew(save: Save, folder: Path) -> None:
    settings = Settings(artifacts=folder)
    assert [e.tag for e in catalogue(settings)] == ["zero-shot"]  # the folder is not there yet
    one = save("one")
    assert [e.tag for e in catalogue(settings)] == [one.tag, "zero-shot"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("config.json", b"{", "config.json: expected an artifact's configuration"),
        ("config.json", b"\xff\xfe", "config.json: expected an artifact's configuration"),
        ("config.json", b"[" * 100_000, "config.json: expected an artifact's configuration"),
        ("config.json", b'{"schema_version": 9}', "config.json: expected schema_version 1, found 9"),
        ("config.json", None, "config.json: expected a file, found nothing"),
        ("prompt.safetensors", None, "prompt.safetensors: expected a file, found nothing"),
    ],
)
def test_a_damaged_one_is_listed_with_its_problem(
    save: Save, folder: Path, name: str, content: bytes | None, problem: str
) -> None:
    good = save("good")
    broken = save("broken", seed=2).path
    if content is None:
        (broken / name).unlink()
    else:
        (broken / name).write_bytes(content)
    found = {e.name: e for e in catalogue(Settings(artifacts=folder))}
    assert (found["broken"].tag, found["good"].tag) == (None, good.tag)
    assert found["broken"].problem.startswith(f"broken/{problem}")
    assert str(folder) not in found["broken"].problem


def test_what_is_no_artifact_is_not_listed(save: Save, folder: Path) -> None:
    save("one")
    save("two", seed=2).path.rename(folder / ".two.old.x")  # what a killed replacement leaves
    (folder / "other").mkdir()
    (folder / "notes.txt").write_text("config.json")
    assert [e.name for e in catalogue(Settings(artifacts=folder))] == ["one", "zero-shot"]


def test_found_by_tag_or_name(save: Save, folder: Path) -> None:
    one, settings = save("one"), Settings(artifacts=folder)
    kept = keep(one.path)
    assert find(settings, one.tag).source == "directory"
    assert (find(settings, "one").path, find(settings, kept).source) == (one.path, "store")
    with pytest.raises(InvalidInput, match=rf"no artifact 'coop'; valid: {one.tag.replace('+', '.')}, zero-shot"):
        find(settings, "coop")


def test_the_first_artifact_is_a_path_or_a_tag(save: Save, folder: Path) -> None:
    one = save("one")
    kept = keep(save("two", seed=2).path)
    assert first_artifact(Settings(artifact=None)) is None
    assert first_artifact(Settings(artifact=str(one.path))) == one.path
    assert first_artifact(Settings(artifact=one.tag, artifacts=folder)) == one.path
    assert kept.split(":")[1] in str(first_artifact(Settings(artifact=kept)))
    with pytest.raises(InvalidInput, match="no artifact 'nothing'"):
        first_artifact(Settings(artifact="nothing"))


def test_a_tag_changes_with_all_that_decides_answers_and_with_nothing_else(save: Save) -> None:
    threshold = OpenSetThreshold(score="mcm", threshold=0.5, true_positive_rate=0.95, images=9, labels=2, vocabulary=None)
    changes: list[dict[str, object]] = [
        {},
        {"seed": 2},
        {"calibrator": TemperatureCalibrator(temperature=2.0)},
        {"open_set": (threshold,)},
        {"template": "the {}."},
        {"base_classnames": ("cat", "mouse")},
    ]
    artifacts = [save(str(number), **change) for number, change in enumerate(changes)]
    assert len({a.tag for a in artifacts}) == len(changes)
    told = save("told", training={"epochs": 3}, evaluation={"base": {"ece": 0.1}})
    assert told.tag == artifacts[0].tag
    assert json.loads((told.path / "config.json").read_text())["training"] == {"epochs": 3}
