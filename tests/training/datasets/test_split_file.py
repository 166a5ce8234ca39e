"""CoOp's split files: what is read, and what is refused with the file and the entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from candor.errors import InvalidInput
from training.datasets.split_file import read_split

GOOD: dict[str, list[list[Any]]] = {
    "train": [["b/1.jpg", 1, "bee"], ["a/1.jpg", 0, "ant"], ["a/2.jpg", 0, "ant"]],
    "val": [["a/3.jpg", 0, "ant"]],
    "test": [["b/2.jpg", 1, "bee"]],
}


def written(tmp_path: Path, content: object) -> Path:
    file = tmp_path / "split_zhou_X.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_order_labels_and_names(tmp_path: Path) -> None:
    split = read_split(written(tmp_path, GOOD), Path("images"))
    assert split.classnames == ("ant", "bee")
    assert split.train == ((Path("images/b/1.jpg"), 1), (Path("images/a/1.jpg"), 0), (Path("images/a/2.jpg"), 0))
    assert split.val == ((Path("images/a/3.jpg"), 0),)
    assert split.test == ((Path("images/b/2.jpg"), 1),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ([], "an object with the lists train, val, test"),
        ({"train": [], "test": []}, "an object with the lists train, val, test"),
        ({**GOOD, "val": {}}, "an object with the lists"),
        ({**GOOD, "train": []}, "train and test must not be empty"),
        ({**GOOD, "test": [["b/2.jpg", 1]]}, r"test\[0\]: must be \[path, label, class name\], got \['b/2.jpg', 1\]"),
        ({**GOOD, "val": [["b/2.jpg", "1", "bee"]]}, r"val\[0\]: must be"),
        ({**GOOD, "val": [["b/2.jpg", True, "bee"]]}, r"val\[0\]: must be"),
        ({**GOOD, "val": [["b/2.jpg", 1.0, "bee"]]}, r"val\[0\]: must be"),
        ({**GOOD, "val": [["b/2.jpg", 1, " "]]}, r"val\[0\]: must be"),
        ({**GOOD, "val": ["b/2.jpg"]}, r"val\[0\]: must be"),
        ({**GOOD, "val": [["../b/2.jpg", 1, "bee"]]}, r"val\[0\]: path '../b/2.jpg' must stay inside the image folder"),
        ({**GOOD, "val": [["b/../../2.jpg", 1, "bee"]]}, "must stay inside"),
        ({**GOOD, "val": [["/etc/2.jpg", 1, "bee"]]}, "must stay inside"),
        ({**GOOD, "val": [["..\\2.jpg", 1, "bee"]]}, "must stay inside"),
        ({**GOOD, "val": [["2\0.jpg", 1, "bee"]]}, "must stay inside"),
        ({**GOOD, "val": [["", 1, "bee"]]}, "must stay inside"),
        ({**GOOD, "val": [["b/3.jpg", 1, "bug"]]}, r"val\[0\]: label 1 is 'bug' here and 'bee' elsewhere"),
        ({**GOOD, "val": [["c/3.jpg", 3, "cow"]]}, "labels must be 0 to n-1; there are 3 labels, and 2 is none of them"),
        ({**GOOD, "val": [["c/3.jpg", -1, "cow"]]}, "labels must be 0 to n-1; there are 3 labels, and 2 is none of them"),
        ({**GOOD, "val": [["c/3.jpg", 2, "cow"]]}, "no training image for 'cow'"),
        ({**GOOD, "val": [["b/2.jpg", 1, "bee"]]}, r"b/2\.jpg is a test image and a training or val image"),
        ({**GOOD, "test": [["a/2.jpg", 0, "ant"]]}, r"a/2\.jpg is a test image and a training or val image"),
    ],
)
def test_refusals_name_the_file(tmp_path: Path, content: object, message: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(InvalidInput, match=message) as caught:
        read_split(file, tmp_path)
    assert str(caught.value).startswith(str(file))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.json: cannot be read \(No such file"):
        read_split(tmp_path / "none.json", tmp_path)
