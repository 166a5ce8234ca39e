"""The load generator: a few keep-alive clients in a process that does nothing else. Imports no torch: it must be cheap.

Each client sends its next request when it has the answer to the last (a closed loop). What was begun is finished and
counted, and the clock runs to the last answer: a service that answers in batches is not cut off in the middle of one.
Answers are kept and looked at behind the clock.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import aiohttp

from service.bench.traffic import Body

TIMEOUT = 120  # seconds an answer may take


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        body: number of the body that was sent.
        status: of HTTP; 0 where the connection broke or nothing came in time.
        content: bytes of the answer.
        seconds: from the request to the answer's last byte.
    """

    body: int
    status: int
    content: bytes
    seconds: float


@dataclass(frozen=True)
class Load:
    """One turn of the load generator.

    Attributes:
        seconds: from the first request to the last answer.
        cpu_seconds: that the generator itself took, user and system.
        answers: in the order in which they came.
    """

    seconds: float
    cpu_seconds: float
    answers: tuple[Answer, ...]


def send(url: str, bodies: Sequence[Body], clients: int, seconds: float, once: bool = False) -> Load:
    """Send requests for some time.

    Args:
        url: to POST to.
        bodies: sent one after the other, from the start again behind the last.
        clients: requests in flight.
        seconds: behind which no request is begun; each client sends at least one.
        once: whether to send each body once at most, and end there.
    """
    numbers: Iterator[int] = iter(range(len(bodies))) if once else itertools.cycle(range(len(bodies)))
    return asyncio.run(_send(url, bodies, numbers, clients, seconds))


async def _send(url: str, bodies: Sequence[Body], numbers: Iterator[int], clients: int, seconds: float) -> Load:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    answers: list[Answer] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        cpu, start = time.process_time(), time.perf_counter()

        async def client() -> None:
            for number in numbers:
                answers.append(await _post(session, url, bodies[number], number))
                if time.perf_counter() - start >= seconds:
                    return

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
        return Load(time.perf_counter() - start, time.process_time() - cpu, tuple(answers))


async def _post(session: aiohttp.ClientSession, url: str, body: Body, number: int) -> Answer:
    start = time.perf_counter()
    try:
        async with session.post(url, data=body.content, headers={"Content-Type": body.content_type}) as response:
            status, content = response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        status, content = 0, repr(error).encode()
    return Answer(number, status, content, time.perf_counter() - start)
