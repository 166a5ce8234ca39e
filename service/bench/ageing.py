"""Whether a service ages: its latency beside that of a twin that rests, in alternate turns, before its soak and behind it.

What the host takes from a virtual machine changes from minute to minute, and with it the latency of a soak. Both turns of a
pair meet the same minute, so their ratio tells of the two services alone. Two services that just started differ too: each
measured for itself what threads and batches are best. So what counts is how that ratio has changed.
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
class TurnSetting:
    """How two services are compared.

    Attributes:
        pairs: of turns; the services take turns in beginning.
        seconds: of a turn.
        clients: requests in flight, a closed loop.
        seed: of the requests. A later comparison needs another one: of what only one service has forgotten, it would tell.
    """

    pairs: int = 16
    seconds: float = 4
    clients: int = 4
    seed: int = 1000


@dataclass(frozen=True)
class Turns:
    """What a comparison found.

    Attributes:
        working, resting: median latency of each turn, seconds; turns of the same place are a pair.
        wrong: answers that were not what their request asks for.
    """

    working: tuple[float, ...]
    resting: tuple[float, ...]
    wrong: int

    @property
    def ratio(self) -> float:
        """Median over the pairs of one's median latency by the other's."""
        return statistics.median(one / other for one, other in zip(self.working, self.resting, strict=True))


@dataclass(frozen=True)
class Ageing:
    """A service beside one that rested meanwhile.

    Attributes:
        before, behind: its soak.
    """

    before: Turns
    behind: Turns

    @property
    def ratio(self) -> float:
        """How many times as long as at first an answer takes, by the clock of the twin; 1 is no ageing."""
        return self.behind.ratio / self.before.ratio

    @property
    def wrong(self) -> int:
        """Answers that were not what their request asks for."""
        return self.before.wrong + self.behind.wrong


def compare(working: str, resting: str, setting: TurnSetting) -> Turns:
    """Send two services the same requests in alternate turns, behind one turn each that warms up.

    Args:
        working: URL of the service that is looked at.
        resting: of its twin, with the same settings.
        setting: of the turns.
    """
    requests = list(islice(traffic(setting.seed), BODIES))
    medians: dict[str, list[float]] = {working: [], resting: []}
    wrong = 0
    for number in range(setting.pairs + 1):
        for url in (working, resting) if number % 2 else (resting, working):
            median, bad = _turn(url, requests, setting)
            wrong += bad
            if number:
                medians[url].append(median)
        requests = requests[BODIES // 7 :] + requests[: BODIES // 7]  # another place of the traffic for the next pair
    return Turns(tuple(medians[working]), tuple(medians[resting]), wrong)


def _turn(url: str, requests: list[SoakRequest], setting: TurnSetting) -> tuple[float, int]:
    """Median latency in seconds, and wrong answers."""
    bodies = [Body(request.body, request.content_type) for request in requests]
    answers = send(f"{url}/v1/classify", bodies, setting.clients, setting.seconds).answers
    wrong = sum(not requests[answer.body].is_met_by(answer.status) for answer in answers)
    return statistics.median(answer.seconds for answer in answers), wrong
