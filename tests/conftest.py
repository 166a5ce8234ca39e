"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

import glyph_world
from candor.clip import Backbone, load_backbone
from tests.postgres import POSTGRES, running_postgres


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests keep does not go to the user's directories, nor come from there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANDOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("CANDOR_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _own_share_of_the_cores() -> None:
    """Processes of pytest-xdist that all took every core would spend their time waiting for each other's threads."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_clip() -> Backbone:
    """A real open_clip model of the embedded architecture with random weights: fast, and knows nothing."""
    glyph_world.register()
    torch.manual_seed(0)
    return load_backbone("glyph-clip", "random")


@pytest.fixture(scope="session")
def glyph_clip() -> Backbone:
    """The embedded default with its trained weights."""
    glyph_world.register()
    return load_backbone("glyph-clip")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real PostgreSQL of this run's own, without a database."""
    if POSTGRES is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    with running_postgres() as server:
        yield server
