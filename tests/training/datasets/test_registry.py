"""Data sets by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from candor.errors import InvalidInput
from training.datasets import DATASETS, load_dataset
from training.datasets.templates import TEMPLATES


def test_the_names() -> None:
    assert list(DATASETS) == [
        "glyphs",
        "imagefolder",
        "caltech101",
        "dtd",
        "eurosat",
        "fgvc_aircraft",
        "food101",
        "oxford_flowers",
        "oxford_pets",
        "stanford_cars",
        "sun397",
        "ucf101",
        "imagenet",
        "imagenet_a",
        "imagenet_r",
        "imagenet_sketch",
        "imagenet_v2",
    ]
    assert set(TEMPLATES) == set(DATASETS) - {"glyphs", "imagefolder"}


def test_unknown_names_list_the_valid_ones() -> None:
    with pytest.raises(
        InvalidInput, match="unknown data set 'mnist'; valid: glyphs/<task>, imagefolder, caltech101, dtd, "
    ):
        load_dataset("mnist")
    with pytest.raises(InvalidInput, match="unknown glyph task 'nope'; valid: cats-and-cows"):
        load_dataset("glyphs/nope")
    with pytest.raises(InvalidInput, match="unknown data set 'imagenet/v2'; valid: imagenet"):
        load_dataset("imagenet/v2", Path("x"))


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "glyphs"])
def test_all_but_the_glyphs_need_a_root_that_is_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=rf"{name} needs a root \(--root\)"):
        load_dataset(name)
    with pytest.raises(InvalidInput, match=str(tmp_path / "nowhere")):
        load_dataset(name, tmp_path / "nowhere")


def test_a_home_folder_is_written_with_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InvalidInput, match=f"{tmp_path}/photos is no folder"):
        load_dataset("imagefolder", Path("~/photos"))
