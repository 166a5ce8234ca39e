"""A soak: steady load for a long time, and whether memory or latency creep.

The load is open: requests leave when a Poisson process says so, whether earlier ones were answered or not, and latency
counts from that moment. So a service that stalls is seen to.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from random import Random
from typing import Any

import aiohttp

from candor.errors import CandorError
from service.bench.ageing import Ageing
from service.bench.processes import stolen_seconds
from service.bench.soak_traffic import SoakRequest, traffic

PATIENCE = 30.0  # seconds an answer may take
MOST_IN_FLIGHT = 400  # behind that the service has been lost: what is not sent then is an error
MOST_GROWTH, MOST_DRIFT = 0.02, 1.25
MOST_AGEING = 1.1  # less than MOST_DRIFT: both sides of that ratio meet the same machine


@dataclass(frozen=True)
class SoakSetting:
    """How long and how hard.

    Attributes:
        seconds: of the steady load.
        load: share of the throughput at saturation.
        probe_seconds: of the closed loop that finds that throughput.
        clients: of that loop.
        seed: of the requests and their times.
    """

    seconds: float = 1800
    load: float = 0.8
    probe_seconds: float = 60
    clients: int = 16
    seed: int = 0

    @property
    def interval(self) -> float:
        """Seconds that are told together: a minute, less where the whole is short."""
        return min(60.0, self.seconds / 10)


@dataclass(frozen=True)
class Interval:
    """What happened in one interval; latencies and their quantiles in seconds, memory in bytes.

    `stolen` is the share of the machine's processor time that its host gave to others: where it moves, so does latency.
    """

    begun: float
    requests: int
    errors: int
    p50: float
    p95: float
    memory: float
    stolen: float


@dataclass
class Soak:
    """What a soak found.

    Attributes:
        saturation: requests a second of the closed loop.
        rate: requests a second that were sent then.
        intervals: in their order.
        faults: how many of each kind of error there were.
        interrupted: whether it was stopped before its time.
        ageing: the service beside one that rested meanwhile; None where nobody compared them.
    """

    saturation: float
    rate: float
    intervals: list[Interval] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False
    ageing: Ageing | None = None

    @property
    def growth(self) -> float:
        """Memory of the last fifth by that of the second, less 1; the first fifth fills caches. NaN where it was short."""
        return _last_by_second([interval.memory for interval in self.intervals]) - 1

    @property
    def drift(self) -> float:
        """Median latency of the last fifth by that of the second; NaN where it was short."""
        return _last_by_second([interval.p50 for interval in self.intervals])

    @property
    def errors(self) -> int:
        """Answers of the soak that were not what their request asks for."""
        return sum(self.faults.values())

    @property
    def sound(self) -> bool:
        """Whether memory, latency and, beside a twin, ageing stay below their bounds, and every answer was right."""
        aged = self.ageing is not None and (self.ageing.ratio >= MOST_AGEING or self.ageing.wrong > 0)
        return self.growth < MOST_GROWTH and self.drift < MOST_DRIFT and not aged and not self.errors

    def document(self) -> dict[str, Any]:
        """For JSON."""
        figures = {"growth": self.growth, "drift": self.drift, "errors": self.errors, "sound": self.sound}
        aged = self.ageing.ratio if self.ageing else None
        document: dict[str, Any] = _known(asdict(self) | figures | {"aged": aged})
        return document


def run_soak(url: str, memory: Callable[[], int], setting: SoakSetting, tell: Callable[[Soak], None]) -> Soak:
    """Find the saturation, then send steady load. Ctrl-C ends it early, and what was found until then is returned.

    Args:
        url: of the service.
        memory: resident bytes of the process that holds the model.
        setting: how long and how hard.
        tell: called before the steady load and behind every interval.

    Raises:
        CandorError: the service answers nothing.
    """
    return asyncio.run(_Soaking(url, memory, setting, tell).run())


class _Soaking:
    def __init__(self, url: str, memory: Callable[[], int], setting: SoakSetting, tell: Callable[[Soak], None]) -> None:
        self._url, self._memory, self._setting, self._tell = f"{url}/v1/classify", memory, setting, tell
        self._latencies: list[float] = []
        self._sizes: list[int] = []
        self._faults: dict[str, int] = {}

    async def run(self) -> Soak:
        timeout, connector = aiohttp.ClientTimeout(total=PATIENCE), aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            self._session = session
            saturation = await self._saturation(traffic(self._setting.seed))
            found = Soak(saturation, saturation * self._setting.load, faults=self._faults)
            self._tell(found)
            try:
                async with asyncio.TaskGroup() as tasks:
                    sizing = tasks.create_task(self._watch_memory())
                    telling = tasks.create_task(self._tell_intervals(found))
                    await self._steady(found.rate)
                    sizing.cancel()
                    await telling
            except asyncio.CancelledError:
                found.interrupted = True
        return found

    async def _saturation(self, requests: Iterator[SoakRequest]) -> float:
        """Requests a second of some clients that send one after the other; the first half warms up."""
        half = self._setting.probe_seconds / 2
        start = time.perf_counter()

        async def client() -> None:
            while time.perf_counter() - start < 2 * half:
                await self._ask(next(requests), time.perf_counter())

        clients = [asyncio.create_task(client()) for _ in range(self._setting.clients)]
        await asyncio.sleep(half)
        warm, begun = len(self._latencies), time.perf_counter()
        await asyncio.gather(*clients)
        answered, seconds = len(self._latencies) - warm, time.perf_counter() - begun
        self._latencies.clear()
        if not answered:
            raise CandorError(f"{self._url} answers nothing: {self._faults}")
        return answered / seconds

    async def _steady(self, rate: float) -> None:
        rng, requests = Random(self._setting.seed), traffic(self._setting.seed + 1)
        start = due = time.perf_counter()
        in_flight: set[asyncio.Task[None]] = set()
        try:
            while (due := due + rng.expovariate(rate)) - start < self._setting.seconds:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                if len(in_flight) >= MOST_IN_FLIGHT:
                    self._blame("not sent: too many in flight")
                    continue
                task = asyncio.create_task(self._ask(next(requests), due))
                in_flight.add(task)
                task.add_done_callback(in_flight.discard)
            await asyncio.gather(*in_flight)
        finally:
            for task in in_flight:  # of a soak that is stopped: what has no answer yet is nobody's fault
                task.cancel()

    async def _ask(self, request: SoakRequest, due: float) -> None:
        try:
            headers = {"Content-Type": request.content_type}
            async with self._session.post(self._url, data=request.body, headers=headers) as response:
                await response.read()
                status = response.status
        except TimeoutError:
            return self._blame(f"no answer in {PATIENCE:.0f} s")
        except aiohttp.ClientError as error:
            return self._blame(type(error).__name__)
        self._latencies.append(time.perf_counter() - due)
        if not request.is_met_by(status):
            self._blame(f"{status} to a {'bad' if request.refused else 'good'} request")
        return None

    def _blame(self, fault: str) -> None:
        self._faults[fault] = self._faults.get(fault, 0) + 1

    async def _watch_memory(self) -> None:
        while True:
            self._sizes.append(self._memory())
            await asyncio.sleep(min(1.0, self._setting.interval / 5))

    async def _tell_intervals(self, found: Soak) -> None:
        start, told, stolen = time.perf_counter(), 0, stolen_seconds()
        for number in count(1):
            begun = (number - 1) * self._setting.interval
            if begun >= self._setting.seconds - self._setting.interval / 2:
                return
            await asyncio.sleep(max(0.0, start + number * self._setting.interval - time.perf_counter()))
            latencies, sizes, errors = self._latencies, self._sizes or [self._memory()], found.errors
            self._latencies, self._sizes = [], []
            p50, p95 = _quantiles(latencies)
            before, stolen = stolen, stolen_seconds()
            share, memory = (stolen - before) / self._setting.interval, statistics.fmean(sizes)
            found.intervals.append(Interval(begun, len(latencies), errors - told, p50, p95, memory, share))
            told = errors
            self._tell(found)


def _known(value: Any) -> Any:
    """The same for JSON, which has no NaN: null."""
    if isinstance(value, dict):
        return {key: _known(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_known(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _quantiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return (values[0], values[0]) if values else (float("nan"), float("nan"))
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return cuts[9], cuts[18]


def _last_by_second(values: Sequence[float]) -> float:
    """The mean of the last fifth by that of the second fifth."""
    fifth = len(values) // 5
    return statistics.fmean(values[-fifth:]) / statistics.fmean(values[fifth : 2 * fifth]) if fifth else float("nan")
