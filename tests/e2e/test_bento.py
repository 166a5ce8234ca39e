"""`bentoml build` makes a bento, and serving that bento answers as the service does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from cli.server import PACKAGE_ROOT, running_service
from glyph_world.render import Scene, render

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_the_built_bento_answers_the_same_request(built: Path, service: str, tmp_path: Path) -> None:
    environment = os.environ | {"BENTOML_HOME": str(tmp_path / "home"), "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag", str(PACKAGE_ROOT)]
    built_bento = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert built_bento.returncode == 0, built_bento.stderr
    tag = re.search(r"candor:\w+", built_bento.stdout)
    assert tag, built_bento.stdout
    picture = BytesIO()
    render(Scene("umbrella", "red", "drawing", 3)).save(picture, "PNG")
    files, data = {"image": ("x.png", picture.getvalue())}, {"labels": '["red umbrella", "blue anchor", "yin yang"]'}
    expected = httpx.post(f"{service}/v1/classify", files=files, data=data).raise_for_status().json()
    bento = running_service(
        built / "artifact", built / "index", tmp_path / "log", target=tag.group(), home=tmp_path / "home"
    )
    with bento as url:
        answer = httpx.post(f"{url}/v1/classify", files=files, data=data, timeout=60).raise_for_status().json()
    assert answer["artifact"] == expected["artifact"]
    for got, wanted in zip(answer["results"], expected["results"], strict=True):
        assert got["label"] == wanted["label"]
        assert got["confidence"] == pytest.approx(wanted["confidence"], abs=1e-4)
        assert got["open_set"]["score"] == pytest.approx(wanted["open_set"]["score"], abs=1e-4)
