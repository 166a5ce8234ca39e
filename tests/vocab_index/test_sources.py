"""Files of words, and what is wrong with some of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.errors import InvalidInput
from vocab_index.sources.files import LONGEST_LINE, read_file


def entries(directory: Path, name: str, content: bytes | str, label: str = "label") -> list[tuple[str, dict[str, Any]]]:
    path = directory / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [(word, dict(metadata)) for word, metadata in read_file(path, label)]


def test_text_has_a_word_a_line(tmp_path: Path) -> None:
    assert entries(tmp_path, "words.txt", "\ufeffcat\r\n\r\nsnow leopard\rdog\nlast") == [
        *(("cat", {}), ("", {}), ("snow leopard", {}), ("dog", {}), ("last", {}))
    ]
    assert entries(tmp_path, "words", "a,b\n") == [("a,b", {})]


@pytest.mark.parametrize(("name", "comma"), [("shop.csv", ","), ("SHOP.CSV", ","), ("shop.tsv", "\t")])
def test_a_table_keeps_its_other_columns(tmp_path: Path, name: str, comma: str) -> None:
    table = '\ufeffid,name ,note\n1,"red mug","a ""good"" one"\n\n2,blue mug,"two\nlines"\n'.replace(",", comma)
    assert entries(tmp_path, name, table, "name") == [
        ("red mug", {"id": "1", "note": 'a "good" one'}),
        ("", {}),
        ("blue mug", {"id": "2", "note": "two\nlines"}),
    ]


@pytest.mark.parametrize("name", ["shop.jsonl", "shop.ndjson", "shop.json"])
def test_objects_keep_their_other_keys(tmp_path: Path, name: str) -> None:
    lines = '{"label": "caf\\u00e9", "price": 2.5, "tags": ["hot", null]}\r\n\n{"label": "tea"}\n'
    assert entries(tmp_path, name, lines) == [("café", {"price": 2.5, "tags": ["hot", None]}), ("", {}), ("tea", {})]


CELL = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=6)


@given(st.lists(st.tuples(CELL, CELL.filter(bool)), min_size=1, max_size=5))
def test_what_csv_and_json_write_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    table = io.StringIO()
    csv.writer(table).writerows([("label", "note"), *rows])
    objects = "\n".join(json.dumps({"label": word, "note": note}) for word, note in rows)
    expected = [(word, {"note": note}) for word, note in rows]
    directory = tmp_path_factory.mktemp("read")
    assert entries(directory, "x.csv", table.getvalue()) == expected
    assert entries(directory, "x.jsonl", objects) == expected


BAD = [
    ("x.txt", b"cat\ndog\xff\n", r"x.txt', line 2: not UTF-8 text: .* \(byte 0xff\)"),
    ("x.txt", "cat\n".encode("utf-16"), "line 1: not UTF-8 text"),
    ("x.txt", "cat\n\nd\x00g\n", r"line 3: character '\\x00' in 'd\\x00g'"),
    ("x.txt", "cat\n\x1b[31mred\n", r"line 2: character '\\x1b'"),
    ("x.txt", b"a" * (LONGEST_LINE + 1), "line 1: a line of more than 1048576 bytes"),
    ("x.csv", "", "line 0: no column 'label'; there are: none"),
    ("x.csv", "word,id\ncat,1\n", "line 1: no column 'label'; there are: 'word', 'id'"),
    ("x.csv", "label,id,id\ncat,1,2\n", "line 1: a column is there twice: 'label', 'id', 'id'"),
    ("x.csv", "label,id\ncat,1\ndog\n", "line 3: 1 fields where the header has 2: 'label', 'id'"),
    ("x.csv", "label,id\ncat,1,2\n", "line 2: 3 fields where the header has 2"),
    ("x.csv", 'label,id\ncat,1\n"dog,2\nfox,3\n', "line 4: unexpected end of data"),
    ("x.csv", 'label\n"dog"s\n', "line 2: ',' expected after"),
    ("x.csv", f"label\n{'a' * 200_000}\n", "line 2: field larger than field limit"),
    ("x.csv", "label,id\ncat,\x00\n", r"line 2: character '\\x00'"),
    ("x.csv", "label,\x1b\ncat,1\n", r"character '\\x1b'"),
    ("x.tsv", "label,id\ncat,1\n", "no column 'label'; there are: 'label,id'"),
    ("x.jsonl", '{"label": "cat"}\n{"label": }\n', "line 2: not JSON: Expecting value"),
    ("x.jsonl", "cat\n", "line 1: not JSON"),
    ("x.jsonl", '{"word": "cat", "id": 1}\n', "line 1: expected an object with the key 'label', found keys 'word', 'id'"),
    ("x.json", '[{"label": "cat"}]\n', "line 1: expected an object with the key 'label', found a list"),
    ("x.jsonl", '{"label": 5}\n', "line 1: 'label' must be text, found a int"),
    ("x.jsonl", '{"label": null}\n', "'label' must be text"),
    ("x.jsonl", '{"label": "cat", "x": NaN}\n', "NaN is no finite number"),
    ("x.jsonl", '{"label": "cat", "x": 1e999}\n', "1e999 is no finite number"),
    ("x.jsonl", f'{{"label": "cat", "x": {"9" * 5000}}}\n', "line 1: not JSON: Exceeds the limit"),
    ("x.jsonl", f'{{"label": "cat", "x": {"[" * 100_000}\n', "line 1: not JSON: maximum recursion depth"),
    ("x.jsonl", '{"label": "half \\ud83d"}\n', r"line 1: character '\\ud83d'"),
    ("x.jsonl", '{"label": "cat", "note": "\\u0000"}\n', r"line 1: character '\\x00'"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_a_bad_line_is_named(tmp_path: Path, name: str, content: bytes | str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        entries(tmp_path, name, content)


@pytest.mark.parametrize(
    ("path", "message"), [("nowhere.csv", "No such file"), (".", "Is a directory"), ("a\0b", "null byte")]
)
def test_what_is_no_file_is_refused_with_what_would_do(tmp_path: Path, path: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"{message}.*; valid: 'wordnet', or a file"):
        list(read_file(tmp_path / path, "label"))


@pytest.mark.parametrize("suffix", ["txt", "csv", "tsv", "jsonl"])
@given(content=st.binary(max_size=60) | st.text('label,"\t\n{}:1', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, suffix: str, content: bytes) -> None:
    try:
        found = entries(tmp_path_factory.getbasetemp(), f"any.{suffix}", content)
    except InvalidInput:
        return
    assert all(word == word.encode().decode() and "\0" not in word for word, _ in found)
