"""The README's curl commands, run as they stand there against a real process."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from glyph_world.render import Scene, render

README = Path(__file__).parents[2] / "README.md"
TOOLS = ("curl", "bash", "base64", "grep")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(any(shutil.which(tool) is None for tool in TOOLS), reason=f"needs {', '.join(TOOLS)}"),
]


def commands() -> list[str]:
    """The commands of the block that asks the service about pictures, without its comments."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if "curl -F image=@some.png" in block]
    lines = [line for line in block.splitlines() if line and not line.startswith("#")]
    return re.split(r"\n(?! )", "\n".join(lines))  # an indented line goes on with the command before it


def png(pictogram: str, colour: str) -> bytes:
    buffer = BytesIO()
    render(Scene(pictogram, colour, "drawing", 3)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def outputs(service: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each command prints, in the README's order."""
    directory = tmp_path_factory.mktemp("readme")
    (directory / "some.png").write_bytes(png("umbrella", "red"))
    (directory / "other.png").write_bytes(png("anchor", "blue"))
    printed = []
    for command in commands():
        assert "localhost:3000" in command, command
        script = "set -o pipefail\n" + command.replace("localhost:3000", service.removeprefix("http://"))
        done = subprocess.run(
            ["bash", "-c", script], cwd=directory, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    return printed


def labels(answer: Any) -> list[str]:
    return [result["label"] for result in answer["results"]]


def test_the_readme_has_the_commands_that_are_checked_here() -> None:
    routes = [re.findall(r"localhost:3000(/\S*)", command) for command in commands()]
    classify, put = ["/v1/classify"], ["/v1/label_sets/shop"]
    others = [["/v1/lookup"], ["/v1/hf"], ["/classify_batch"], ["/v1/classify", "/v1/feedback"], ["/metrics"]]
    assert routes == [classify, classify, classify, put, classify, *others]


def test_multipart_json_and_several_pictures(outputs: list[str]) -> None:
    multipart, as_json, several = map(json.loads, outputs[:3])
    assert labels(multipart) == labels(as_json) == ["red umbrella"]
    assert len(multipart["results"][0]["scores"]) == 2
    assert len(as_json["results"][0]["scores"]) == 1
    assert labels(several) == ["red umbrella", "blue anchor"]


def test_a_kept_label_set(outputs: list[str]) -> None:
    kept, classified = map(json.loads, outputs[3:5])
    assert kept["labels"] == ["red umbrella", "blue anchor"]
    assert labels(classified) == ["red umbrella"]
    (result,) = classified["results"]
    assert result["accepted"] is (result["confidence"] >= 0.9)


def test_a_true_label(outputs: list[str]) -> None:
    assert json.loads(outputs[8]) == {"results": [{"status": "stored", "outcome": "correct"}]}


def test_lookup_hugging_face_bentoml_and_metrics(outputs: list[str]) -> None:
    lookup, hugging_face, batch = map(json.loads, outputs[5:8])
    words = [word["label"] for word in lookup["results"][0]["nearest"]]
    assert len(words) == 5
    assert "red umbrella" in words
    assert [score["label"] for score in hugging_face] == ["red umbrella", "blue anchor"]
    assert hugging_face[0]["score"] > 0.5
    assert [answer["label"] for answer in batch] == ["red umbrella"]
    assert re.search(r"^candor_predictions_total\{.*\} [1-9]", outputs[9], re.MULTILINE)
    assert re.search(r"^candor_feedback_total\{.*\} 1", outputs[9], re.MULTILINE)
