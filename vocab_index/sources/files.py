"""Files of words: text, CSV, TSV and JSON lines, read an entry at a time.

Whoever made the file is a stranger: a line that is not what the format says stops the reading, and the error names it.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from candor.errors import InvalidInput

Entry: TypeAlias = tuple[str, Mapping[str, Any]]  # a word or phrase, and what is known of it
LONGEST_LINE = 1 << 20  # bytes; a file without line ends is not read into memory whole
UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")  # controls that are no space; half a pair


def read_file(path: Path, label_column: str) -> Iterator[Entry]:
    """The entries of a file, by the ending of its name.

    .csv and .tsv have a header, of which `label_column` is the word and the others are metadata, as text. .jsonl, .ndjson
    and .json have an object a line, with the same key. Any other file is text with a word a line.

    Args:
        path: UTF-8, with or without a byte order mark.
        label_column: the column or key of the words.

    Raises:
        InvalidInput: no such file, not UTF-8, or a line that its format does not allow.
    """
    readers: dict[str, Callable[[Path, str], Iterator[Entry]]] = {
        ".csv": lambda path, label: _table(path, label, ","),
        ".tsv": lambda path, label: _table(path, label, "\t"),
        **dict.fromkeys((".jsonl", ".ndjson", ".json"), _objects),
    }
    yield from readers.get(path.suffix.lower(), _text)(path, label_column)


def _text(path: Path, label_column: str) -> Iterator[Entry]:  # noqa: ARG001
    for number, line in enumerate(_lines(path), 1):
        for word in line.splitlines():
            yield _printable(path, number, word, {})


def _table(path: Path, label_column: str, delimiter: str) -> Iterator[Entry]:
    rows = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        if label_column not in header:
            _refuse(path, rows.line_num, f"no column {label_column!r}; there are: {_names(header)}")
        if len(set(header)) < len(header):
            _refuse(path, rows.line_num, f"a column is there twice: {_names(header)}")
        for row in rows:
            if row and len(row) != len(header):
                _refuse(path, rows.line_num, f"{len(row)} fields where the header has {len(header)}: {_names(header)}")
            metadata = dict(zip(header, row, strict=False))
            yield _printable(path, rows.line_num, metadata.pop(label_column, ""), metadata)
    except csv.Error as error:
        _refuse(path, rows.line_num, str(error), error)


def _objects(path: Path, label_column: str) -> Iterator[Entry]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            yield "", {}
            continue
        try:
            found = json.loads(line, parse_constant=_no_number, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            _refuse(path, number, f"not JSON: {error}", error)
        if not isinstance(found, dict) or label_column not in found:
            keys = f"keys {_names(found)}" if isinstance(found, dict) else f"a {type(found).__name__}"
            _refuse(path, number, f"expected an object with the key {label_column!r}, found {keys}")
        label = found.pop(label_column)
        if not isinstance(label, str):
            _refuse(path, number, f"{label_column!r} must be text, found a {type(label).__name__}")
        yield _printable(path, number, label, found)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file with their ends, each decoded by itself so that an error can name it."""
    number, encoding = 0, "utf-8-sig"
    try:
        with path.open("rb") as file:
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    _refuse(path, number, f"a line of more than {LONGEST_LINE} bytes")
                yield line.decode(encoding)
                encoding = "utf-8"
    except UnicodeDecodeError as error:
        _refuse(path, number, f"not UTF-8 text: {error.reason} (byte 0x{error.object[error.start]:02x})", error)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        problem = (error.strerror if isinstance(error, OSError) else None) or str(error)
        valid = "'wordnet', or a file: text with a word a line, .csv, .tsv, .jsonl"
        raise InvalidInput(f"cannot read vocabulary {str(path)!r}: {problem}; valid: {valid}") from error


def _printable(path: Path, number: int, label: str, metadata: dict[str, Any]) -> Entry:
    """An entry whose texts can be written to a file and a terminal."""
    for text in (label, *metadata, *metadata.values()):
        if isinstance(text, str) and (found := UNPRINTABLE.search(text)):
            _refuse(path, number, f"character {found.group()!r} in {text[:80]!r} is not text")
    return label, metadata


def _names(columns: list[str] | dict[str, Any]) -> str:
    return ", ".join(repr(str(name)[:80]) for name in list(columns)[:20]) or "none"


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:80]} is no finite number")


def _refuse(path: Path, number: int, problem: str, cause: Exception | None = None) -> NoReturn:
    raise InvalidInput(f"vocabulary {str(path)!r}, line {number}: {problem}") from cause
