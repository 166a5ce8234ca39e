"""`GET /v1/calibration`: whether confidence is still true, from the service itself."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.exc import SQLAlchemyError

from candor.clip.artifact import SCOPES
from service.api.calibration_answer import (
    CalibrationAnswer,
    LabelSets,
    ScopeFigures,
    drift_of,
    labelled_of,
    open_set_of,
    reference_of,
)
from service.api.openapi import Responses, error
from service.engine import Engine
from service.errors import ApiError
from service.feedback.store import FeedbackStore
from service.feedback.tallies import ScopeTotals
from service.settings import Settings

BINS = {"10": 10, "20": 20}
WINDOW = r"[1-9][0-9]{0,8}[smhd]?"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
SHOWN = 10  # tags in a message
THREADS = 2  # its own: a store that hangs takes none of those that requests need
UNREADABLE = "the feedback store cannot be read now; try again in a few seconds"
ERRORS: Responses = {**error(404, "No such artifact"), **error(422, "A parameter that makes no sense")}

Artifact = Annotated[
    str | None,
    Query(min_length=1, max_length=200, description="tag, as answers name it; the one that is active by default"),
]
Bins = Annotated[
    str, Query(description="equal bins of the labelled figures", json_schema_extra={"type": "integer", "enum": [10, 20]})
]
Window = Annotated[
    str | None,
    Query(
        description="how far labelled figures reach back: seconds, or a number with s, m, h or d behind it; all by default",
        json_schema_extra={"pattern": f"^{WINDOW}$", "example": "7d"},
    ),
]


def routes(engine: Callable[[], Engine], settings: Settings) -> APIRouter:
    """The route, for an engine that is there once it has been loaded."""
    router = APIRouter(tags=["calibration"])
    threads = ThreadPoolExecutor(THREADS, "calibration")

    @router.get("/v1/calibration", responses=ERRORS)
    async def calibration(artifact: Artifact = None, bins: Bins = "20", window: Window = None) -> CalibrationAnswer:
        """Reliability, calibration error with its noise floor, and drift, of base and of new labels apart.

        Labelled figures are of the feedback that came within the window, drift of all answers since the service started.
        """
        running, seconds = engine(), seconds_of(window)
        if bins not in BINS:
            raise ApiError(422, f"bins is {bins[:20]!r}; it can be {' or '.join(BINS)}", "bins")
        tag = artifact or running.serving.tag
        reading = asyncio.get_running_loop().run_in_executor(threads, answer, running, tag, BINS[bins], seconds)
        try:
            async with asyncio.timeout(settings.timeout_seconds):
                return await reading
        except TimeoutError:
            raise ApiError(503, UNREADABLE) from None

    return router


def seconds_of(window: str | None) -> float | None:
    """A window in seconds; None is everything.

    Raises:
        ApiError: 422, it cannot be read.
    """
    if window is None:
        return None
    if not re.fullmatch(WINDOW, window):
        raise ApiError(422, f"window is {window[:20]!r}; give seconds, or a number with s, m, h or d, such as 7d", "window")
    unit = window[-1] if window[-1] in UNITS else "s"
    return float(int(window.removesuffix(unit)) * UNITS[unit])


def answer(engine: Engine, artifact: str, bins: int, seconds: float | None) -> CalibrationAnswer:
    """All figures of one artifact. Reads the store and the metrics, so not for the event loop.

    Args:
        engine: that answers.
        artifact: tag.
        bins: 10 or 20.
        seconds: that labelled figures reach back; None is all.

    Raises:
        ApiError: 404 where nothing is known of the artifact; 503 where the store cannot be read.
    """
    store = engine.feedback.store if engine.feedback is not None else None
    if "\0" in artifact:  # which PostgreSQL takes in no text
        raise _unknown(engine, artifact)
    feedback = _feedback(store, artifact, None if seconds is None else time.time() - seconds)
    references = engine.references.of(artifact)
    if references is None and not (_any(feedback) or (seconds is not None and _any(_feedback(store, artifact, None)))):
        raise _unknown(engine, artifact)
    counted = engine.metrics.counted(artifact)
    scopes = {}
    for scope in SCOPES:
        reference = (references or {}).get(scope)
        scopes[scope] = ScopeFigures(
            labelled=labelled_of(feedback[scope], bins) if scope in feedback else None,
            drift=drift_of(counted.bins[scope], counted.mean_confidence[scope], reference),
            reference=reference_of(reference),
        )
    outside = sum(sum(each.outside.values()) for each in feedback.values()) if store is not None else None
    return CalibrationAnswer(
        artifact=artifact,
        bins=bins,
        window_seconds=seconds,
        scopes=scopes,
        open_set=open_set_of(counted, outside),
        label_sets=LabelSets(text_deviation=counted.text_deviation, divergence=counted.divergence),
    )


def _feedback(store: FeedbackStore | None, artifact: str, since: float | None) -> Mapping[str, ScopeTotals]:
    """What labels say, by scope; nothing where none is kept."""
    if store is None:
        return {}
    try:
        return {scope: store.judged(artifact, scope, since) for scope in SCOPES}
    except SQLAlchemyError:
        raise ApiError(503, UNREADABLE) from None


def _any(feedback: Mapping[str, ScopeTotals]) -> bool:
    return any(each.bins.total or each.outside for each in feedback.values())


def _unknown(engine: Engine, artifact: str) -> ApiError:
    valid = engine.references.artifacts()
    more = f" and {len(valid) - SHOWN} more" if len(valid) > SHOWN else ""
    served = ", ".join(valid[:SHOWN])
    return ApiError(404, f"nothing is known of an artifact {artifact[:100]!r}; served so far: {served}{more}", "artifact")
