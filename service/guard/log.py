"""Logs as lines of JSON, which hold nothing that a caller sent.

The message of an exception is never logged: Python's and pydantic's hold values, and a value may be a label or a part of an
image. What is logged is where it happened and of what kind it was, which is what finds the error in the source.
"""

from __future__ import annotations

import logging
import logging.config
import sys
import traceback
from types import TracebackType
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from service.settings import LogLevel

OUR_OWN = ("candor", "uvicorn.error")  # write no caller's text: uvicorn's only long message is that of a failed start
SERVER = ("bentoml", "circus")  # name routes, and paste tracebacks below their first line

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class SafeJson(JsonFormatter):
    """A line of JSON a record, without texts that a library may have taken from a request."""

    def __init__(self) -> None:
        names = {"levelname": "level", "name": "logger"}
        super().__init__(["levelname", "name", "message"], rename_fields=names, timestamp="time", json_ensure_ascii=False)

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        safe = logging.makeLogRecord({**record.__dict__, "msg": _safe_message(record), "args": (), "exc_text": None})
        return super().format(safe)

    def formatException(self, ei: ExcInfo) -> str:
        """What happened and where, without the messages of the exceptions."""
        return described(ei[1]) if ei[1] is not None else ""


def described(error: BaseException) -> str:
    """The kind of an exception, of what caused it, and the lines of source they passed."""
    parts = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = "".join(traceback.format_tb(current.__traceback__))
        parts.append(f"{frames}{type(current).__module__}.{type(current).__qualname__}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\nwhich came of:\n".join(parts)


def configure_logs(level: LogLevel) -> None:
    """Log to standard output as JSON, in place of what BentoML has set up. For the serving process.

    Args:
        level: of what this service and BentoML log; others log warnings.
    """
    logging.config.dictConfig(_configuration(level))


def _configuration(level: str) -> dict[str, Any]:
    own = {"level": level, "handlers": ["json"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": SafeJson}},
        "handlers": {"json": {"class": "logging.StreamHandler", "formatter": "json", "stream": sys.stdout}},
        "loggers": {
            "candor": own,
            "bentoml": own,
            "bentoml.access": {"level": "CRITICAL", "propagate": False},  # raw paths
            "uvicorn.access": {"level": "CRITICAL", "propagate": False},  # raw paths
            "uvicorn.error": {"level": "WARNING", "handlers": ["json"], "propagate": False},
        },
        "root": {"level": "WARNING", "handlers": ["json"]},
    }


def _safe_message(record: logging.LogRecord) -> str:
    """What a record may say: of a library that knows nothing of our promise, only the text in its source."""
    room = record.name.partition(".")[0]
    if room in OUR_OWN or record.name in OUR_OWN:
        return record.getMessage()
    text = record.getMessage() if room in SERVER else str(record.msg)
    return text.partition("\n")[0]
