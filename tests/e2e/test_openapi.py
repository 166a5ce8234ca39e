"""schemathesis against the running service: it does what its OpenAPI document says, for good requests and for bad ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cli.server import running_service

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HERE = Path(__file__).parent
PHASES = "examples,coverage,fuzzing,stateful"


@pytest.fixture(scope="module")
def without_keys(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    limits = {"CANDOR_MAX_IMAGES": "3", "CANDOR_MAX_LABELS": "10"}
    log = tmp_path_factory.mktemp("described") / "log"
    with running_service(built / "artifact", built / "index", log, environment=limits) as url:
        yield url


def probed(url: str, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """One run of schemathesis, every check on, the same examples each time."""
    program = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"]
    command = [*program, f"{url}/v1/openapi.json", "--checks", "all", "--phases", PHASES, "--max-examples", "25"]
    command += ["--generation-deterministic", "--continue-on-failure", "--no-color", "--warnings", "off", *options]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": str(HERE / "schemathesis_hooks.py")}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=280, check=False)


def operations(url: str, **headers: str) -> int:
    document = httpx.get(f"{url}/v1/openapi.json", headers=headers, timeout=60).raise_for_status().json()
    return sum(len(methods) for methods in document["paths"].values())


def test_schemathesis_finds_nothing_without_keys(without_keys: str, tmp_path: Path) -> None:
    run = probed(without_keys, tmp_path)
    assert run.returncode == 0, run.stdout
    assert f"Tested: {operations(without_keys)}\n" in run.stdout, run.stdout


def test_schemathesis_finds_nothing_with_keys(guarded: str, key: str, tmp_path: Path) -> None:
    run = probed(guarded, tmp_path, "--header", f"Authorization: Bearer {key}")
    assert run.returncode == 0, run.stdout
    assert f"Tested: {operations(guarded, authorization=f'Bearer {key}')}\n" in run.stdout, run.stdout
