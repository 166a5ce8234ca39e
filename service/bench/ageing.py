"""Whether a service has aged: its latency beside that of a fresh one, in alternate turns.

What the host takes from a virtual machine changes from minute to minute, and with it the latency of a soak. Both turns of a
pair meet the same minute, so their ratio tells of the services alone.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from itertools import islice

from service.bench.load import send
from service.bench.soak_traffic import SoakRequest, traffic
from service.bench.traffic import Body

BODIES = 2000  # more than one turn takes: what is new in the traffic stays new for a while


@dataclass(frozen=True)
class AgeingSetting:
    """How an aged and a fresh service are compared.

    Attributes:
        pairs: of turns; the services take turns in beginning.
        seconds: of a turn.
        clients: requests in flight, a closed loop.
        seed: of the requests.
    """

    pairs: int = 16
    seconds: float = 4
    clients: int = 4
    seed: int = 1000


@dataclass(frozen=True)
class Ageing:
    """What the comparison found.

    Attributes:
        aged, fresh: median latency of each turn, seconds; turns of the same place are a pair.
        wrong: answers that were not what their request asks for.
    """

    aged: tuple[float, ...]
    fresh: tuple[float, ...]
    wrong: int

    @property
    def ratio(self) -> float:
        """Median over the pairs of the aged service's median latency by the fresh one's; 1 is no ageing."""
        return statistics.median(aged / fresh for aged, fresh in zip(self.aged, self.fresh, strict=True))


def compare_with_fresh(aged: str, fresh: str, setting: AgeingSetting) -> Ageing:
    """Send both services the same requests in alternate turns, behind one turn each that warms up.

    Args:
        aged: URL of the service behind its soak.
        fresh: of one with the same settings that has just started.
        setting: of the turns.
    """
    requests = list(islice(traffic(setting.seed), BODIES))
    medians: dict[str, list[float]] = {aged: [], fresh: []}
    wrong = 0
    for number in range(setting.pairs + 1):
        for url in (aged, fresh) if number % 2 else (fresh, aged):
            median, bad = _turn(url, requests, setting)
            wrong += bad
            if number:
                medians[url].append(median)
        requests = requests[BODIES // 7 :] + requests[: BODIES // 7]  # another place of the traffic for the next pair
    return Ageing(tuple(medians[aged]), tuple(medians[fresh]), wrong)


def _turn(url: str, requests: list[SoakRequest], setting: AgeingSetting) -> tuple[float, int]:
    """Median latency in seconds, and wrong answers."""
    bodies = [Body(request.body, request.content_type) for request in requests]
    answers = send(f"{url}/v1/classify", bodies, setting.clients, setting.seconds).answers
    wrong = sum(not requests[answer.body].is_met_by(answer.status) for answer in answers)
    return statistics.median(answer.seconds for answer in answers), wrong
