"""Feedback of the past, as healing takes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from candor.calibration.confidence_curve import MULTIPLIERS
from candor.calibration.curve_fitting import CurveEvents
from candor.calibration.healing import ScopeName
from candor.errors import InvalidInput
from service.feedback.database import reason
from service.feedback.store import FeedbackStore, StoredFeedback

MOST = 200_000  # events of a scope, the newest: enough for any temperature, and memory for their curves


def read_history(place: str, artifacts: Sequence[str], since: float | None = None) -> dict[ScopeName, CurveEvents]:
    """The labelled predictions of some artifacts, whatever replica answered; without those of outcome "outside".

    Args:
        place: a database's URL, as CANDOR_FEEDBACK has it, or the path of a SQLite file.
        artifacts: their tags.
        since: leave out predictions made before, seconds since 1970.

    Returns:
        Of each scope, at most MOST.

    Raises:
        InvalidInput: there is no such database, or it cannot be read. No message holds a password.
    """
    found: dict[ScopeName, deque[StoredFeedback]] = {"base": deque(maxlen=MOST), "new": deque(maxlen=MOST)}
    store = FeedbackStore.open(_url(place), "")  # a reader adds to nobody's totals
    try:
        for tag in dict.fromkeys(artifacts):
            for event in store.events(tag, since):  # what was labelled before `since` was predicted before it, too
                if event.outcome != "outside" and (since is None or event.issued >= since):
                    found["base" if event.scope == "base" else "new"].append(event)
    except SQLAlchemyError as error:
        raise InvalidInput(f"the feedback store cannot be read: {reason(error)}") from None
    finally:
        store.close()
    return {scope: curve_events(events) for scope, events in found.items()}


def curve_events(events: Iterable[StoredFeedback]) -> CurveEvents:
    """Stored predictions as columns; without those whose curve is of another version of Candor."""
    rows = [event for event in events if len(event.curve) == len(MULTIPLIERS)]
    return CurveEvents(
        time=np.array([event.issued for event in rows], np.float64),
        gamma=np.array([1.0 if event.gamma is None else event.gamma for event in rows], np.float64),
        curve=np.array([event.curve for event in rows], np.float64).reshape(-1, len(MULTIPLIERS)),
        correct=np.array([event.outcome == "correct" for event in rows], np.bool_),
    )


def _url(place: str) -> str:
    """The URL of a database; a SQLite file must be there: a reader makes none."""
    try:
        file = make_url(place).database if "://" in place else place
    except (ArgumentError, ValueError):
        raise InvalidInput("the feedback database's URL cannot be read; give it as CANDOR_FEEDBACK has it") from None
    is_file = "://" not in place or place.startswith("sqlite")
    if is_file and not (file and Path(file).is_file()):
        raise InvalidInput(f"there is no feedback database {file or place}")
    return place if "://" in place else URL.create("sqlite", database=str(Path(place).resolve())).render_as_string()
