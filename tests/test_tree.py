"""The shape of the tree: small modules, public names, and documents that tell the truth."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ["candor", "cli", "glyph_world", "monitoring", "service", "training", "vocab_index"]
MODULES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def test_no_module_is_over_300_lines() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in MODULES}
    assert len(lengths) > 30
    assert {name: n for name, n in lengths.items() if n > 300} == {}


def test_every_package_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in MODULES}
    assert sorted(found) == sorted(listed)


@pytest.mark.parametrize("package", ["candor.clip", "candor.calibration"])
def test_public_names_are_there(package: str) -> None:
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_the_bento_has_what_the_service_imports() -> None:
    """Nothing of training or the command line goes into the container."""
    included = (ROOT / "bentofile.yaml").read_text()
    imported = {
        line.split()[1].split(".")[0]
        for path in [*(ROOT / "service").rglob("*.py"), *(ROOT / "vocab_index").rglob("*.py")]
        for line in path.read_text().splitlines()
        if line.startswith(("from ", "import "))
    } & set(ROOMS)
    assert imported == {"candor", "glyph_world", "service", "vocab_index"}
    for room in imported:
        assert f'- "{room}/' in included
    assert "training" not in included


def test_constraints_are_names_and_versions_only() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+]+", line)] == []


def test_every_setting_is_in_the_readme() -> None:
    from service.settings import Settings

    readme = (ROOT / "README.md").read_text()
    assert [name for name in Settings.model_fields if f"`CANDOR_{name.upper()}`" not in readme] == []
