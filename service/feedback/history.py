"""Feedback of the past, as healing takes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from candor.calibration.confidence_curve import MULTIPLIERS
from candor.calibration.curve_fitting import CurveEvents
from candor.calibration.healing import ScopeName
from candor.errors import InvalidInput
from service.feedback.database import reason
from service.feedback.store import FeedbackStore, StoredFeedback

MOST = 200_000  # events of a scope, the latest that came: enough for any temperature, and memory for their curves


@dataclass(frozen=True)
class History:
    """Labelled predictions, at most MOST of each scope and kind.

    Attributes:
        judged: those that were right or wrong.
        outside: those whose true label was none of the request's; `correct` says nothing of them.
    """

    judged: dict[ScopeName, CurveEvents]
    outside: dict[ScopeName, CurveEvents]


def read_history(place: str, artifacts: Sequence[str], since: float | None = None) -> History:
    """The labelled predictions of some artifacts, whatever replica answered.

    Args:
        place: a database's URL, as CANDOR_FEEDBACK has it, or the path of a SQLite file.
        artifacts: their tags.
        since: leave out predictions made before, seconds since 1970.

    Raises:
        InvalidInput: there is no such database, or it cannot be read. No message holds a password.
    """
    judged, outside = _empty(), _empty()
    store = FeedbackStore.existing(_url(place), reads=True)
    try:
        for event in store.events(artifacts, since):  # what was labelled before `since` was predicted before it, too
            recent = since is None or event.issued >= since
            if recent and len(event.curve) == len(MULTIPLIERS):  # else it is of another version of Candor
                found = outside if event.outcome == "outside" else judged
                found["base" if event.scope == "base" else "new"].append(_kept(event))
    except SQLAlchemyError as error:
        raise InvalidInput(f"the feedback store cannot be read: {reason(error)}") from None
    finally:
        store.close()
    return History(*({scope: _columns(rows) for scope, rows in found.items()} for found in (judged, outside)))


class _Kept(NamedTuple):
    """What healing needs of an event, in as little memory as it takes."""

    time: float
    gamma: float
    curve: NDArray[np.float32]
    correct: bool


def _empty() -> dict[ScopeName, deque[_Kept]]:
    return {"base": deque(maxlen=MOST), "new": deque(maxlen=MOST)}


def _kept(event: StoredFeedback) -> _Kept:
    gamma = 1.0 if event.gamma is None or event.scope == "base" else event.gamma
    return _Kept(event.issued, gamma, np.array(event.curve, np.float32), event.outcome == "correct")


def _columns(rows: Collection[_Kept]) -> CurveEvents:
    return CurveEvents(
        time=np.array([row.time for row in rows], np.float64),
        gamma=np.array([row.gamma for row in rows], np.float64),
        curve=np.array([row.curve for row in rows], np.float64).reshape(-1, len(MULTIPLIERS)),
        correct=np.array([row.correct for row in rows], np.bool_),
    )


def _url(place: str) -> str:
    """The URL of a database."""
    return place if "://" in place else URL.create("sqlite", database=str(Path(place).resolve())).render_as_string()
