"""Feedback as the service takes it: receipts read, labels judged, stored, and only then acknowledged."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from candor.clip.templates import readable
from service.errors import ApiError
from service.feedback.database import reason
from service.feedback.receipt import Outcome, Refused
from service.feedback.receipts import ReceiptRefused, Receipts, open_receipts
from service.feedback.replica import replica_id
from service.feedback.store import Feedback, FeedbackStore, Status
from service.feedback.totals import FeedbackCollector
from service.settings import Settings

log = logging.getLogger("candor.feedback")

Answer = dict[str, Any]

FILE = "feedback.db"  # in the state directory
AT_ONCE = 2000  # labels in one transaction, of several requests
MOST_WAITING = 50_000  # labels; a store that is so far behind is given no more
FEW = 4  # receipts that are read without a thread


@dataclass(frozen=True)
class SentFeedback:
    """What a caller sends.

    Attributes:
        prediction_id: a receipt, or anything.
        label: the true one.
        overwrite: whether it may replace another label of the same prediction.
        field: where it stands in the request, "" or ending with ".": put before the fields of errors.
    """

    prediction_id: str
    label: str
    overwrite: bool = False
    field: str = ""


@dataclass(frozen=True)
class _Waiting:
    feedback: list[Feedback]
    overwrite: list[bool]
    done: asyncio.Future[list[Status]]


def unwatched(why: Refused) -> None:
    """Count nothing."""


class FeedbackService:
    """Takes feedback. For one event loop.

    Requests that come while others are being stored share the next transaction: the disk's confirmation, which is what
    storing costs, is then waited for once.

    Args:
        store: keeps it.
        receipts: reads prediction ids.
        timeout_seconds: after which a request that is not stored is given up.

    Attributes:
        refused: told why, for each feedback that is refused; may be called from a thread.
    """

    def __init__(self, store: FeedbackStore, receipts: Receipts, timeout_seconds: float = 30) -> None:
        self.store, self.receipts, self._timeout = store, receipts, timeout_seconds
        self.collector = FeedbackCollector(store.totals, store.begin)
        self.refused: Callable[[Refused], None] = unwatched
        self._thread = ThreadPoolExecutor(1, "feedback")
        self._waiting: deque[_Waiting] = deque()
        self._behind = 0  # labels that wait
        self._writer: asyncio.Task[None] | None = None

    async def add(self, items: Sequence[SentFeedback]) -> list[Answer | ApiError]:
        """Take feedback. What is answered is stored, and survives a crash.

        Args:
            items: any number.

        Returns:
            Of each: `schemas.FeedbackResult` as plain data, or why it is refused: a receipt that is not valid (422), or
            another label that is kept already (409).

        Raises:
            ApiError: 503 where the store cannot be written, or is far behind: nothing is acknowledged.
        """
        try:
            async with asyncio.timeout(self._timeout):
                found = self._read(items) if len(items) <= FEW else await asyncio.to_thread(self._read, items)
                pairs = [(f, item.overwrite) for f, item in zip(found, items, strict=True) if isinstance(f, Feedback)]
                statuses = await self._stored([each for each, _ in pairs], [may for _, may in pairs])
                refused = [each.receipt.id for (each, _), s in zip(pairs, statuses, strict=True) if s == "conflict"]
                kept = await self._outcomes(refused)
        except (SQLAlchemyError, TimeoutError) as error:
            log.error("feedback cannot be stored: %s", reason(error))
            again = "send it again: what was stored already is not counted twice"
            raise ApiError(503, f"feedback cannot be stored now, and none of this is acknowledged; {again}") from None
        for _ in refused:
            self.refused("conflict")
        following = iter(statuses)
        return [
            each if isinstance(each, ApiError) else _answer(each, next(following), kept, item.field)
            for each, item in zip(found, items, strict=True)
        ]

    def _read(self, items: Sequence[SentFeedback]) -> list[Feedback | ApiError]:
        """The receipt of each, with what its label says of the prediction."""
        now = time.time()
        found: list[Feedback | ApiError] = []
        for item in items:
            try:
                receipt = self.receipts.read(item.prediction_id)
                found.append(Feedback(receipt, readable(item.label), receipt.outcome(item.label), now))
            except ReceiptRefused as error:
                self.refused(error.why)
                found.append(ApiError(error.status, error.message, f"{item.field}{error.field}"))
        return found

    async def _stored(self, feedback: list[Feedback], overwrite: list[bool]) -> list[Status]:
        if not feedback:
            return []
        if self._behind + len(feedback) > MOST_WAITING:
            raise ApiError(503, "too many labels wait to be stored; send them again in a few seconds")
        self._behind += len(feedback)
        waiting = _Waiting(feedback, overwrite, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await waiting.done

    async def _write(self) -> None:
        """Store what waits, as much as fits at a time, until nothing does."""
        while self._waiting:
            if group := self._group():
                await self._store(group)

    def _group(self) -> list[_Waiting]:
        """What is stored next. What was given up is not: its caller may have said something else since."""
        group: list[_Waiting] = []
        room = AT_ONCE
        while self._waiting and (not group or len(self._waiting[0].feedback) <= room):
            waiting = self._waiting.popleft()
            self._behind -= len(waiting.feedback)
            if not waiting.done.done():
                group.append(waiting)
                room -= len(waiting.feedback)
        return group

    async def _store(self, group: list[_Waiting]) -> None:
        """Store some requests in one transaction; where the fault may be that of one of them, each by itself."""
        feedback = [each for waiting in group for each in waiting.feedback]
        overwrite = [each for waiting in group for each in waiting.overwrite]
        try:
            statuses = await asyncio.get_running_loop().run_in_executor(self._thread, self.store.add, feedback, overwrite)
        except Exception as error:  # whatever it is, somebody waits for it
            of_one = len(group) > 1 and not isinstance(error, OperationalError)
            for waiting in group:
                if waiting.done.done():  # it may have been given up
                    continue
                if of_one:
                    await self._store([waiting])
                else:
                    waiting.done.set_exception(error)
            return
        for waiting in group:
            mine, statuses = statuses[: len(waiting.feedback)], statuses[len(waiting.feedback) :]
            if not waiting.done.done():
                waiting.done.set_result(mine)

    async def _outcomes(self, prediction_ids: list[str]) -> dict[str, Outcome]:
        if not prediction_ids:
            return {}
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.store.outcomes, prediction_ids)


def _answer(feedback: Feedback, status: Status, kept: dict[str, Outcome], field: str) -> Answer | ApiError:
    if status != "conflict":
        return {"status": status, "outcome": feedback.outcome}
    known = f"another label is kept for this prediction already, by which it is {kept[feedback.receipt.id]!r}"
    return ApiError(409, f"{known}; send overwrite: true to replace it", f"{field}label")


def feedback_url(settings: Settings) -> str | None:
    """The URL of the feedback store; None where it is off.

    Args:
        settings: of the service.
    """
    if settings.feedback is None:
        return f"sqlite:///{settings.state.absolute() / FILE}"
    return None if settings.feedback == "off" else settings.feedback


def open_feedback(settings: Settings) -> FeedbackService | None:
    """The service of the settings' store; None where it is off.

    Args:
        settings: of the service.

    Raises:
        InvalidInput: the store, the keys of receipts or the state directory cannot be used.
    """
    if (url := feedback_url(settings)) is None:
        return None
    store = FeedbackStore.open(url, replica_id(settings.state))
    return FeedbackService(store, open_receipts(settings), settings.timeout_seconds)
