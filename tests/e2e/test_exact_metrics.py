"""What Prometheus says of calibration and drift is what numpy says of the events: two replicas of two workers, and deaths.

A worker of one replica is killed in the middle, then the whole other replica, which comes back with its state.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from candor.clip.artifact import load_artifact
from cli.prometheus import Series, query, running_prometheus, samples, scrape_config
from glyph_world.tasks import find_task
from monitoring.rule import LIFETIME
from monitoring.rules import rules, window_rules
from monitoring.yaml_text import yaml_text
from service.feedback.receipt_keys import open_receipt_keys
from service.feedback.store import FeedbackStore, StoredFeedback
from tests.exact_scores import Bounded, Events, calibration, drift, mce
from tests.replicas import Acknowledged, Prediction, Replica, Stream, pictures

log = logging.getLogger("candor.tests")  # --log-file=FILE --log-file-level=INFO keeps the figures

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

WINDOW, WINDOW_SECONDS = "30s", 30.0
PHASE = 20.0  # seconds of the stream before each death, and after
SCOPES = ("base", "new")
EXACT = 1e-9
NAMES = {  # score -> recorded series
    "accuracy": "candor:accuracy:ratio",
    "gap": "candor:gap:ratio",
    "brier": "candor:brier:mean",
    "ece10": "candor:ece:ratio",
    "ece20": "candor:ece:ratio",
    "mce10": "candor:mce:ratio",
    "mce20": "candor:mce:ratio",
    "confidence": "candor:confidence:mean",
    "psi": "candor:psi:ratio",
    "ks": "candor:ks:ratio",
    "wasserstein": "candor:wasserstein:ratio",
}


def selector(score: str, scope: str, window: str) -> str:
    bins = f',bins="{score[-2:]}"' if score[-2:] in ("10", "20") else ""
    return f'{NAMES[score]}{window}{{scope="{scope}"{bins}}}'


@dataclass(frozen=True)
class Run:
    """What was left of it.

    Attributes:
        streams: of each client, all that it remembers.
        stored: everything in the feedback store.
        replicas: the addresses and deaths.
        prometheus: URL.
        reference: of the artifact, counts of 20 bins by scope.
        over: when all was quiet.
    """

    streams: Sequence[Stream]
    stored: Sequence[StoredFeedback]
    replicas: Sequence[Replica]
    prometheus: str
    reference: dict[str, list[float]]
    over: float

    def stream(self, replica: int, scope: str) -> Stream:
        return next(s for s in self.streams if (s.replica, s.scope) == (replica, scope))

    def up(self, replica: int) -> list[float]:
        """Times of the scrapes that succeeded."""
        (series,) = samples(self.prometheus, f'up{{instance="{self.replicas[replica].address}"}}[1h]')
        return [when for when, value in series.points if value == 1]

    def counted(self, replica: int, scope: str, generation: int) -> int:
        """Predictions that the last scrape of a replica's life has counted."""
        instance, killed = self.replicas[replica].address, self.replicas[replica].killed_at
        found = samples(self.prometheus, f'candor_confidence_bin_total{{instance="{instance}",scope="{scope}"}}[1h]')
        until = killed[generation - 1] if generation <= len(killed) else float("inf")
        assert len(found) == 20  # every bin is there from the beginning
        return int(sum([value for when, value in series.points if when < until][-1] for series in found))

    def predictions(self, replica: int, scope: str, generation: int) -> tuple[list[Prediction], list[Prediction]]:
        """Those that Prometheus has counted of one life of a replica, and those that it has lost."""
        made = [p for p in self.stream(replica, scope).predictions if p.generation == generation]
        number = self.counted(replica, scope, generation)
        broken = [p for p in made if p.confidence is None]
        answered = [p for p in made if p.confidence is not None]
        if number > len(answered):  # of what was under way when something died, one at most was counted
            assert (number, len(broken) > 0) == (len(answered) + 1, True)
            return [*answered, broken[0]], []
        return answered[:number], answered[number:]

    def confidences(self, made: Sequence[Prediction], scope: str) -> list[float]:
        """Of predictions; one whose answer was lost is asked for again."""
        stream = self.stream(0, scope)
        again = {p.question for p in made if p.confidence is None}
        known = {
            question: float(stream.ask(0, question).raise_for_status().json()["results"][0]["confidence"])
            for question in again
        }
        return [known[p.question] if p.confidence is None else p.confidence for p in made]


@pytest.fixture(scope="module")
def run(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    home = tmp_path_factory.mktemp("replicas")
    store = f"sqlite:///{home / 'feedback.db'}"
    (home / "keys").mkdir()
    environment = {
        "CANDOR_WORKERS": "2",
        "CANDOR_FEEDBACK": store,
        "CANDOR_RECEIPT_KEYS": str(home / "keys" / "receipts.json"),
        "CANDOR_THREADS": "1",
        "CANDOR_MAX_BATCH": "4",
    }
    open_receipt_keys(home / "keys" / "receipts.json", make=True)
    replicas = [Replica(built / "artifact", home / f"replica{number}", environment) for number in range(2)]
    streams: list[Stream] = []
    lifetime = {"name": "lifetime", "interval": "1s", "rules": [rule.to_dict() for rule in window_rules(LIFETIME)]}
    text = {"windows.yml": yaml_text(rules((WINDOW,), "1s")), "lifetime.yml": yaml_text({"groups": [lifetime]})}
    config = scrape_config({"candor": [replica.address for replica in replicas]})
    try:
        starting = [threading.Thread(target=replica.start) for replica in replicas]
        for thread in starting:
            thread.start()
        for thread in starting:
            thread.join()
        for replica in replicas:
            replica.wait_for(workers=2)
        with running_prometheus(config, home / "prometheus", text) as url:
            until_scraped(url, replicas)
            streams += begun(replicas)
            time.sleep(WINDOW_SECONDS + PHASE / 2)
            replicas[0].workers()[0].kill()
            time.sleep(PHASE)
            replicas[1].kill()
            time.sleep(PHASE / 4)
            replicas[1].start()
            replicas[1].wait_for(workers=2)
            time.sleep(PHASE)
            for stream in streams:
                stream.end()
            assert [stream.problems for stream in streams] == [[]] * 4
            until_scraped(url, replicas)
            over = time.time()
            time.sleep(2.5)
            opened = FeedbackStore.open(store, "")
            reference = load_artifact(built / "artifact").config.reference
            yield Run(
                streams,
                list(opened.events()),
                replicas,
                url,
                {scope: list(reference[scope].confidence_histogram) for scope in SCOPES},
                over,
            )
            opened.close()
    finally:
        for stream in streams:
            stream.end()
        for replica in replicas:
            replica.kill()


def until_scraped(url: str, replicas: Sequence[Replica]) -> None:
    """Until each replica was scraped from now on."""
    start, deadline = time.time(), time.monotonic() + 60
    while time.monotonic() < deadline:
        fresh = [s for s in samples(url, "up[1m]") if any(v == 1 and when > start for when, v in s.points)]
        if len(fresh) == len(replicas) and len(query(url, "up == 1")) == len(replicas):
            return
        time.sleep(0.2)
    raise AssertionError("Prometheus does not reach both replicas")


def begun(replicas: Sequence[Replica]) -> list[Stream]:
    """A client for each replica and scope, that of another scope at another worker."""
    task = find_task("emblems-and-notes")
    names = list(task.labels)
    half = len(names) // 2
    scenes = task.scenes("test", 4)
    streams = []
    for replica in range(len(replicas)):
        for number, scope in enumerate(SCOPES):
            own = range(half) if scope == "base" else range(half, len(names))
            shown = pictures([(names[label], scene) for label, scene in scenes if label in own][replica::2])
            stream = Stream(replicas, replica, scope, [names[i] for i in own], shown, pause=0.02)
            stream.begin(replicas[replica].workers()[number])
            streams.append(stream)
    return streams


def recorded(run: Run, scores: Sequence[str], scope: str) -> dict[str, float]:
    """Lifetime scores as Prometheus has them when all is quiet."""
    found = {}
    for score in scores:
        (sample,) = query(run.prometheus, selector(score, scope, LIFETIME))
        found[score] = sample.value
    return found


def test_every_acknowledged_feedback_is_stored_once(run: Run) -> None:
    said = [feedback for stream in run.streams for feedback in stream.feedback]
    assert len(said) > 200
    assert len({event.prediction_id for event in run.stored}) == len(run.stored) == len(said)
    columns = [sorted((f.confidence, f.outcome) for f in said), sorted((e.confidence, e.outcome) for e in run.stored)]
    assert columns[0] == columns[1]
    assert {event.outcome for event in run.stored} == {"correct", "wrong", "outside"}
    assert len({event.replica for event in run.stored}) == 2


@pytest.mark.parametrize("scope", SCOPES)
def test_calibration_of_the_lifetime_is_exact_after_both_deaths(run: Run, scope: str) -> None:
    judged = [event for event in run.stored if event.scope == scope and event.outcome != "outside"]
    events = Events.exact([e.confidence for e in judged], [e.outcome == "correct" for e in judged])
    expected = {score: value for score, (value, _) in calibration(events).items()}
    expected |= {f"mce{bins}": mce(events, bins) for bins in (10, 20)}
    assert recorded(run, list(expected), scope) == pytest.approx(expected, abs=EXACT, rel=0)
    (number,) = query(run.prometheus, f'candor:feedback:increase{LIFETIME}{{scope="{scope}"}}')
    assert number.value == len(judged)
    (outside,) = query(run.prometheus, f'sum(candor_feedback_outside_total{{scope="{scope}"}})')
    assert outside.value == sum(event.scope == scope and event.outcome == "outside" for event in run.stored)


@pytest.mark.parametrize("scope", SCOPES)
def test_drift_of_the_lifetimes_is_exact_and_a_dead_worker_loses_nothing(run: Run, scope: str) -> None:
    first, lost = run.predictions(0, scope, 1)
    second, lost_too = run.predictions(1, scope, 2)
    assert lost == lost_too == []
    expected = drift(Events.exact(run.confidences([*first, *second], scope)), run.reference[scope])
    scores = {score: value for score, (value, _) in expected.items()}
    assert recorded(run, list(scores), scope) == pytest.approx(scores, abs=EXACT, rel=0)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_dead_replica_loses_no_prediction_but_those_since_its_last_scrape(run: Run, scope: str) -> None:
    counted, lost = run.predictions(1, scope, 1)
    last = max(when for when in run.up(1) if when < run.replicas[1].killed_at[0])
    assert len(counted) > 50
    assert all(prediction.received > last for prediction in lost)
    instance = run.replicas[1].address
    values = np.zeros(20)
    series = samples(run.prometheus, f'candor_confidence_bin_total{{instance="{instance}",scope="{scope}"}}[1h]')
    for each in series:
        values[round(float(each.labels["bin"]) * 20)] = value_at(each, last)
    assert values.tolist() == np.histogram(run.confidences(counted, scope), np.arange(21) / 20)[0].tolist()


def value_at(series: Series, time: float) -> float:
    return next(value for when, value in reversed(series.points) if when <= time)


@dataclass(frozen=True)
class Seen:
    """What Prometheus saw of one replica within a window.

    Attributes:
        first, last: its scrapes; none lies between infinity and minus infinity.
        phi: what `increase` adds at most for the time beside them.
    """

    first: float
    last: float
    phi: float


def seen(times: Sequence[float], end: float, slowest: float) -> Seen:
    """Of scrapes that began at some times; one that was not over when the rules were evaluated may be missing."""
    scrapes = [when for when in times if end - WINDOW_SECONDS <= when <= end - slowest]
    if len(scrapes) < 2:
        return Seen(float("inf"), float("-inf"), 0)
    between = (scrapes[-1] - scrapes[0]) / (len(scrapes) - 1)
    gaps = (scrapes[0] - (end - WINDOW_SECONDS), end - scrapes[-1])
    added = sum(min(gap, 1.1 * between) for gap in gaps)
    return Seen(scrapes[0], scrapes[-1], added / (scrapes[-1] - scrapes[0]))


def windowed(
    views: Mapping[int, Seen],
    end: float,
    kept: Sequence[tuple[int, Prediction | Acknowledged, float, bool, bool]],
    slowest: float,
) -> Events | None:
    """Events around one window.

    Args:
        views: of each replica.
        end: of the window.
        kept: replica, event, confidence, whether it was correct, whether it may be lost.
        slowest: scrape, in seconds.
    """
    inside = [each for each in kept if each[1].received > end - WINDOW_SECONDS and each[1].sent <= end]
    true = np.array([event.received <= end for _, event, *_ in inside], bool)
    whole = np.array(
        [
            not doubt and event.sent > views[replica].first + slowest and event.received < views[replica].last
            for replica, event, _, _, doubt in inside
        ],
        bool,
    )
    if not whole.any():
        return None
    c, k = (np.array([each[column] for each in inside], np.float64) for column in (2, 3))
    return Events(c, k, true, true & whole, np.array([views[replica].phi for replica, *_ in inside]))


def all_predictions(run: Run, scope: str) -> list[tuple[int, Prediction, float, bool, bool]]:
    """In doubt are those that a death may have lost, and those before the first scrape of the next life."""
    back = min(when for when in run.up(1) if when > run.replicas[1].killed_at[0])
    found = []
    for replica in range(2):
        lost = [id(p) for p in run.predictions(1, scope, 1)[1]] if replica else []
        for p in run.stream(replica, scope).predictions:
            doubt = p.confidence is None or id(p) in lost or (replica == 1 and p.generation == 2 and p.sent < back)
            (confidence,) = run.confidences([p], scope)
            found.append((replica, p, confidence, False, doubt))
    return found


def all_feedback(run: Run, scope: str) -> list[tuple[int, Acknowledged, float, bool, bool]]:
    said = [f for stream in run.streams if stream.scope == scope for f in stream.feedback if f.outcome != "outside"]
    return [(f.replica, f, f.confidence, f.outcome == "correct", f.again) for f in said]


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("kind", ["calibration", "drift"])
def test_rolling_windows_are_within_what_their_edges_explain(
    run: Run, kind: Literal["calibration", "drift"], scope: str
) -> None:
    durations = [point for s in samples(run.prometheus, "scrape_duration_seconds[1h]") for point in s.points]
    scrapes = {replica: run.up(replica) for replica in range(2)}
    kept = all_feedback(run, scope) if kind == "calibration" else all_predictions(run, scope)
    scores = [s for s in NAMES if not s.startswith("mce")]
    series = {s: samples(run.prometheus, f"{selector(s, scope, WINDOW)}[1h]") for s in scores}
    off: dict[str, list[tuple[float, float]]] = {}
    first = min(event.sent for _, event, *_ in kept) + WINDOW_SECONDS
    ends = [when for when, _ in series["ece20" if kind == "calibration" else "psi"][0].points]
    for end in [end for end in ends if first < end < run.over]:
        slowest = max(seconds for when, seconds in durations if end - WINDOW_SECONDS - 2 < when <= end)
        views = {replica: seen(times, end, slowest) for replica, times in scrapes.items()}
        events = windowed(views, end, kept, slowest)
        if events is None or events.true.sum() < 55:  # rules are silent below 50
            continue
        expected: Bounded = calibration(events) if kind == "calibration" else drift(events, run.reference[scope])
        for score, (value, bound) in expected.items():
            found = next((v for when, v in series[score][0].points if when == end), None)
            if found is not None:
                assert abs(found - value) <= bound + EXACT, (score, end, found, value, bound)
                off.setdefault(score, []).append((abs(found - value), bound))
    told = (f"{s} {np.median(v, 0).round(4).tolist()} {np.max(v, 0).round(4).tolist()}" for s, v in off.items())
    log.info("%s: median and largest [difference from numpy, bound]: %s", scope, "; ".join(told))
    assert all(len(values) > 20 for values in off.values())
    assert set(off) == set(expected)
