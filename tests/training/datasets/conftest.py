from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

Plant = Callable[..., None]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Writes an 8 x 8 JPEG at each of some paths below tmp_path."""
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (200, 100, 50)).save(buffer, "JPEG")

    def write(*paths: str) -> None:
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(buffer.getvalue())

    return write
