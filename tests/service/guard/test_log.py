from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from service.guard.log import SafeJson, described

SECRET = "hush-label"


def line(name: str, message: str, *args: object, error: BaseException | None = None, **extra: object) -> dict[str, Any]:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord(name, logging.ERROR, "x.py", 1, message, args, exc_info)
    record.__dict__.update(extra)
    text = SafeJson().format(record)
    assert "\n" not in text
    return dict(json.loads(text))


def raised() -> BaseException:
    class Labels(BaseModel):
        number: int

    try:
        try:
            Labels.model_validate({"number": SECRET})
        except ValidationError as error:
            raise ValueError(f"cannot take {SECRET}") from error
    except ValueError as error:
        return error


def test_a_line_says_when_who_and_what() -> None:
    said = line("candor.service", "%d images", 3, request_id="a1")
    assert said.pop("time").startswith("20")
    assert said == {"level": "ERROR", "logger": "candor.service", "message": "3 images", "request_id": "a1"}


def test_an_exception_is_told_without_its_message_but_with_its_causes() -> None:
    said = line("candor.service", "unexpected error", error=raised())["exc_info"]
    assert SECRET not in said
    assert "builtins.ValueError" in said
    assert "ValidationError" in said
    assert "test_log.py" in said
    assert said.index("builtins.ValueError") < said.index("ValidationError")


def test_causes_in_a_circle_end() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert described(first) == "builtins.ValueError\nwhich came of:\nbuiltins.KeyError"


@pytest.mark.parametrize(
    ("name", "message", "args", "said"),
    [
        ("python_multipart.multipart", "bad header %r", (SECRET,), "bad header %r"),
        ("asyncio", f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{SECRET}')>", (), None),
        ("bentoml.serve", f"Exception on %s [%s]\n{SECRET}", ("/classify_batch", "POST"), None),
        ("candored", "%s", (SECRET,), "%s"),
    ],
)
def test_a_librarys_words_are_cut_to_what_stands_in_its_source(
    name: str, message: str, args: tuple[object, ...], said: str | None
) -> None:
    result = line(name, message, *args)
    assert SECRET not in json.dumps(result)
    assert result["message"] == (said or (message % args).partition("\n")[0])


def test_a_cached_traceback_of_another_handler_is_not_taken_over() -> None:
    record = logging.LogRecord("candor.x", logging.ERROR, "x.py", 1, "m", (), None)
    error = raised()
    record.exc_info = (type(error), error, error.__traceback__)
    record.exc_text = f"ValueError: {SECRET}"  # logging.Formatter leaves it on the record
    assert SECRET not in SafeJson().format(record)
    assert sys.exc_info() == (None, None, None)
