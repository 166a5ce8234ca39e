"""Ten thousand hostile requests against the real service: each is answered or refused, and nothing stays behind."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import httpx
import psutil
import pytest

from cli.server import running_service
from glyph_world.render import Scene, render
from tests.e2e.fuzz.bodies import Case, cases
from tests.e2e.fuzz.raw_http import NONSENSE, leave_early, send

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SEED = 20261125
BODIES = 10_000
WARM_UP = 3000  # of the same kind: caches and the allocator have what they keep
AT_ONCE = 8
PATIENCE = 10.0  # seconds a request
MEGABYTE = 2**20


@dataclass
class Report:
    """What went wrong, as (why, case, answer), and what was answered."""

    faults: list[tuple[str, str, str]] = field(default_factory=list)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")

    def judge(self, case: Case, status: int, answer: bytes, seconds: float) -> None:
        self.answers[case.kind, status] += 1
        self.slowest = max(self.slowest, (seconds, f"{case.kind} {case.path} {case.body[:80]!r}"))
        if status >= 500:
            self.blame("an answer of 500 or more", case, f"{status} {answer[:200]!r}")
        elif status >= 400 and not is_envelope(answer):
            self.blame("no envelope", case, f"{status} {answer[:200]!r}")

    def blame(self, why: str, case: Case, answer: str) -> None:
        self.faults.append((why, f"{case.kind}: {case.method} {case.path} {case.headers} {case.body[:300]!r}", answer))


def is_envelope(answer: bytes) -> bool:
    """Whether it is `{"error": {"code", "message", "field"}}`."""
    try:
        error = json.loads(answer)["error"]
    except (ValueError, TypeError, KeyError):
        return False
    return (
        isinstance(error, dict)
        and error.keys() == {"code", "message", "field"}
        and bool(error["code"] and error["message"])
    )


async def attack(url: str, requests: list[Case]) -> Report:
    """Send all, a few at once."""
    report, left = Report(), iter(requests)
    limits = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(timeout=limits, connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:

        async def one_after_another() -> None:
            for case in left:
                begun = time.monotonic()
                try:
                    asked = session.request(
                        case.method,
                        url + case.path,
                        data=BytesIO(case.body),
                        headers=case.headers,
                        skip_auto_headers=["Content-Type"],
                    )
                    async with asked as response:
                        report.judge(case, response.status, await response.read(), time.monotonic() - begun)
                except TimeoutError:
                    report.blame(f"no answer in {PATIENCE:.0f} s", case, "")
                except aiohttp.ServerDisconnectedError:
                    report.blame("disconnected", case, "")
                except aiohttp.ClientError as error:
                    # a body that is too large is refused while it is still being sent
                    report.blame("disconnected", case, repr(error))

        await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
    return report


async def attack_by_hand(url: str, requests: list[Case]) -> list[bytes]:
    """HTTP-level nonsense, and callers who hang up in the middle of a body."""
    answers = [await send(url, data, PATIENCE) for data in NONSENSE]
    rng = Random(SEED)
    for case in requests:
        await leave_early(url, case, rng)
    return answers


def worker_of(children: list[psutil.Process]) -> psutil.Process:
    """The process that holds the model: the largest."""
    return max(children, key=lambda process: process.memory_info().rss)


def settled_memory(worker: psutil.Process) -> int:
    """The least resident memory within three seconds of rest."""
    sizes = []
    for _ in range(6):
        time.sleep(0.5)
        sizes.append(worker.memory_info().rss)
    return min(sizes)


def ordinary_answer(url: str) -> dict[str, float]:
    """The scores of a request that nobody would refuse."""
    picture = BytesIO()
    render(Scene("umbrella", "red", "drawing", 3)).save(picture, "PNG")
    data = {"labels": json.dumps(["red umbrella", "blue anchor", "yellow snowman", "green heart"])}
    answer = httpx.post(f"{url}/v1/classify", files={"image": ("x.png", picture.getvalue())}, data=data, timeout=PATIENCE)
    result: dict[str, Any] = answer.raise_for_status().json()["results"][0]
    return {score["label"]: score["score"] for score in result["scores"]} | {"open set": result["open_set"]["score"]}


@pytest.fixture(scope="module")
def attacked(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, psutil.Process]]:
    """A service of its own, and its worker. A small label cache: what it keeps on purpose is not what we look for."""
    log = tmp_path_factory.mktemp("fuzz") / "service.log"
    environment = {"CANDOR_LABEL_CACHE_BYTES": str(4 * MEGABYTE), "OMP_NUM_THREADS": "1"}
    before = set(psutil.Process().children(recursive=True))
    with running_service(built / "artifact", built / "index", log, environment=environment) as url:
        yield url, worker_of([process for process in psutil.Process().children(recursive=True) if process not in before])


@pytest.mark.timeout(600)
def test_ten_thousand_hostile_bodies(attacked: tuple[str, psutil.Process]) -> None:
    url, worker = attacked
    requests = cases(SEED, WARM_UP + BODIES)
    before = ordinary_answer(url)
    warm_up = asyncio.run(attack(url, requests[:WARM_UP]))
    baseline = settled_memory(worker)
    begun = time.monotonic()
    report = asyncio.run(attack(url, requests[WARM_UP:]))
    seconds = time.monotonic() - begun
    grown = (settled_memory(worker) - baseline) / MEGABYTE
    size = baseline / MEGABYTE
    print(f"{BODIES} bodies in {seconds:.0f} s, grown {grown:.0f} MB of {size:.0f} MB, slowest {report.slowest}")  # noqa: T201
    print(sorted(report.answers.items()))  # noqa: T201
    faults = warm_up.faults + report.faults
    assert not faults, f"{len(faults)} faults, {Counter(why for why, *_ in faults)}; the first: {faults[:5]}"
    assert ordinary_answer(url) == pytest.approx(before, abs=1e-6, rel=0)
    assert grown < 50
    assert sum(report.answers.values()) == BODIES
    answered = {status for _, status in report.answers}
    assert {200, 400, 404, 413, 415, 422} <= answered  # the cases reach what they are made for


def test_nonsense_below_http(attacked: tuple[str, psutil.Process]) -> None:
    url, _ = attacked
    before = ordinary_answer(url)
    answers = asyncio.run(attack_by_hand(url, cases(SEED + 1, 200)))
    assert not [answer for answer in answers if answer.startswith(b"HTTP/1.1 5")]
    assert ordinary_answer(url) == pytest.approx(before, abs=1e-6, rel=0)
