"""Fixtures that every room's tests share."""

from __future__ import annotations

import pytest
import torch

import glyph_world
from candor.clip import Backbone, load_backbone


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
