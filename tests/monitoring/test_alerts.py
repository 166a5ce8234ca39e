"""Every alert, in promtool: when it fires and with which words, and when it is silent."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from candor.calibration import drift, scores
from monitoring.alert import Alert, AlertTimes
from monitoring.alerts import all_alerts
from monitoring.rules import rules
from monitoring.service_alerts import JOB
from monitoring.yaml_text import yaml_text
from service.metrics import exported_names
from tests.monitoring.promtool import STEP, Case, Labels, counter, gauge, needs_promtool, run
from tests.monitoring.traffic import Events, Labelled, Predicted, in_bins, reference

TIMES = AlertTimes("1m", "2m", "4m", "8m", requests="2m", hold="1m", soon="1m")
RUNBOOKS = "https://wiki.example/runbooks/"
ROOT = Path(__file__).parents[2]
CRITICAL = ("CandorFeedbackStoreDown", "CandorErrors", "CandorDown")
END = 24  # steps, of which the last must be ones in which the alert was pending for a minute


def answers(*groups: tuple[int, float, int]) -> Events:
    """Of (number, confidence, how many of them are right)."""
    confidence = np.concatenate([np.full(number, c) for number, c, _ in groups])
    correct = np.concatenate([np.arange(number) < right for number, _, right in groups])
    return confidence, correct.astype(np.float64)


def scored(artifact: str, scope: str, events: Events, growth: float = 1.0, silent: int = 0) -> list[dict[str, str]]:
    """Feedback on events with each scrape, and as many predictions, which stop before the end."""
    labelled = Labelled(artifact, scope, "x", events).series([(END, growth)])
    phases = [(END - silent, growth)] + [(silent, 0.0)] * bool(silent)
    return [*labelled, *Predicted(artifact, scope, "x", events[0]).series(phases)]


def percent(share: float) -> str:
    return f"{share * 100:.4g}%"


def firing(name: str, labels: Mapping[str, str], summary: str, *description: str) -> tuple[Labels, Labels]:
    severity = "critical" if name in CRITICAL else "warning"
    notes = {"summary": summary, "description": "\n".join(description), "runbook_url": f"{RUNBOOKS}{name}.md"}
    return {**labels, "severity": severity}, notes


def evidence(events: Events, steps: int) -> tuple[str, ...]:
    """The sentences of an alert on a gap, with the figures of `candor.calibration`."""
    one = Labelled("", "", "", events).bins
    bins = type(one)(one.count * steps, one.confidence * steps, one.correct * steps)
    deciles = bins.merged(2)
    return (
        f"Over 2m, mean confidence minus accuracy is {percent(scores.gap(bins))}.",
        f"Chance alone would give up to {percent(scores.gap_floor(bins))} either way.",
        f"Accuracy {percent(scores.accuracy(bins))}.",
        f"ECE in 10 bins {percent(scores.ece(deciles))}, of a calibrated model {percent(scores.noise_floor(deciles))}.",
        f"Labelled answers: {bins.total:.0f}.",
    )


def gap_case(name: str, scope: str, other: str, wrong: Events, little: Events, noise: Events, spread: Events) -> Case:
    """A gap that must be told, and the like of it that must not."""
    same = answers((10, 0.85, 9), (10, 0.35, 3))
    made = Case(
        name,
        [
            *scored("wrong", scope, wrong),
            *scored("other-scope", other, wrong),
            *scored("calibrated", scope, same),
            *scored("a-little", scope, little),
            *scored("few", scope, wrong, growth=49 / 8 / len(wrong[0])),
            *scored("by-chance", scope, noise, growth=52 / 8 / len(noise[0])),
            *scored("spread-over-bins", scope, spread, growth=110 / 8 / len(spread[0])),
            *scored("switched-away", scope, wrong, silent=5),
        ],
    )
    made.expect_alerts(name, 5 * STEP)  # pending since the third step
    return made


def overconfident() -> Case:
    """`noise` has a gap of 12 % of 52 answers, less than the two standard errors 14 %; `spread` one of 11 % in ten bins."""
    name, wrong = "CandorOverconfidentOnNew", answers((20, 0.87, 11))
    noise = answers((50, 0.5, 19))
    spread = answers(*((10, 0.045 + b / 10, b - (b > 0)) for b in range(10)), (10, 0.5, 3))
    made = gap_case(name, "new", "base", wrong, answers((20, 0.88, 16)), noise, spread)
    summary = f"wrong is over-confident on new labels by {percent(0.32)}"
    words = (*evidence(wrong, 8), "Whoever accepts answers above a threshold accepts more wrong ones than it says.")
    made.expect_alerts(name, END * STEP, [firing(name, {"artifact": "wrong", "scope": "new"}, summary, *words)])
    return made


def underconfident() -> Case:
    name, wrong = "CandorUnderconfidentOnBase", answers((20, 0.53, 17))
    noise = answers((50, 0.5, 31))
    spread = answers(*((10, 0.045 + b / 10, right) for b, right in enumerate((2, 3, 4, 5, 5, 7, 7, 9, 9, 10))))
    made = gap_case(name, "base", "new", wrong, answers((20, 0.72, 16)), noise, spread)
    summary = f"wrong is under-confident on base labels: gap {percent(-0.32)}"
    words = (*evidence(wrong, 8), "Right answers are sent to a person for nothing.")
    made.expect_alerts(name, END * STEP, [firing(name, {"artifact": "wrong", "scope": "base"}, summary, *words)])
    return made


def confidence_drift() -> Case:
    """Against a reference in which half are sure: PSI is 0.62 where a fifth are, 0.15 where a third are."""
    name, of = "CandorConfidenceDrift", {"scope": "new"}
    before = np.repeat([0.95, 0.45], [500, 500])
    now = {artifact: np.repeat([0.95, 0.45], parts) for artifact, parts in parts_now().items()}
    growth = {"few": 49 / 8 / 20, "by-chance": 52 / 8 / 20}
    made = Case(name, [])
    for artifact, confidence in now.items():
        stops = [(END - 5, 1.0), (5, 0.0)] if artifact == "switched-away" else [(END, growth.get(artifact, 1.0))]
        made.series += Predicted(artifact, "new", "x", confidence).series(stops)
        size = 0.04 if artifact == "by-chance" else 1.0
        made.series += reference({"artifact": artifact, **of}, in_bins(before) * size, ["x"], END)
    made.series += Predicted("no-reference", "new", "x", now["drifted"]).series([(END, 1.0)])
    counts, held = in_bins(now["drifted"]) * 8, in_bins(before)
    psi = f"{drift.psi(counts, held):.3f}"
    words = (
        f"Over 2m, PSI of confidence against the artifact's reference is {psi}.",
        f"Chance alone would give up to {drift.psi_floor(counts.sum(), held.sum()):.3f}.",
        f"KS distance {drift.ks(counts, held):.3f}.",
        f"Mean confidence {percent(now['drifted'].mean())}, in the reference {percent(0.5 * 0.975 + 0.5 * 0.425 - 0.025)}.",
        "Images or labels are not those of the evaluation. Whether confidence is still true, only feedback can tell.",
    )
    summary = f"Confidence of drifted on new labels has drifted: PSI {psi}"
    made.expect_alerts(name, 3 * STEP)
    made.expect_alerts(name, END * STEP, [firing(name, {"artifact": "drifted", **of}, summary, *words)])
    return made


def parts_now() -> dict[str, tuple[int, int]]:
    """How many are sure and how many not, of each artifact."""
    shifted = (4, 16)
    return {
        "drifted": shifted,
        "as-before": (10, 10),
        "a-little": (13, 27),
        "few": shifted,
        "by-chance": shifted,
        "switched-away": shifted,
    }


def open_set_surge() -> Case:
    """Growth of unknown and of all judged with each scrape: as usual for 32 steps, then for 8 more."""
    name, usual, now = "CandorOpenSetSurge", 32, 8
    shares = {  # judged in each step, unknown of them as usual, and now
        "surge": (40, 2, 16),
        "steady": (40, 16, 16),
        "a-little": (40, 1, 4),
        "less-than-twice": (40, 14, 24),
        "few": (12, 1, 6),
        "by-chance": (13, 0.07 * 13, 0.212 * 13),
    }
    made = Case(name, [])
    for artifact, (judged, before, after) in shares.items():
        for known, phases in (
            ("false", [(usual, before), (now, after)]),
            ("true", [(usual, judged - before), (now, judged - after)]),
        ):
            labels = {"artifact": artifact, "scope": "new", "known": known}
            made.series.append(counter("candor_predictions_total", labels, [(n, float(g)) for n, g in phases]))
    share = (24 * 2 + 8 * 16) / (32 * 40)
    words = (
        f"Over 1m, {percent(0.4)} of the images judged were unknown.",
        f"Over 8m it was {percent(share)}.",
        "Something new is in front of the camera, or a label is missing.",
    )
    made.expect_alerts(name, (usual + 4) * STEP)  # pending since the second
    summary = f"{percent(0.4)} of the images show none of their labels (surge)"
    made.expect_alerts(name, (usual + now) * STEP, [firing(name, {"artifact": "surge"}, summary, *words)])
    return made


def feedback_starving(name_of_case: str, predictions: float, before: float, after: float, fires: bool) -> Case:
    """Feedback as it used to be for five minutes, and then for five minutes after; of two artifacts, one switched away."""
    name, half, rest = "CandorFeedbackStarving", 20, 22
    confidence = np.full(1, 0.8)
    made = Case(f"{name}: {name_of_case}", [])
    for artifact, grows in (("old", [(half, predictions), (rest, 0.0)]), ("young", [(half, 0.0), (rest, predictions)])):
        made.series += Predicted(artifact, "base", "x", confidence).series(grows)
        labels = {"artifact": artifact, "scope": "base", "bin": "0.75"}
        share = 1.0 if artifact == "old" else 0.0
        phases = [(half, share * before), (rest, share * after)]
        made.series.append(counter("candor_feedback_total", labels, phases))
    words = (
        f"In 4m, {16 * after:.0f} answers on base labels were given their true label.",
        "That is less than a quarter of what is usual over 8m for so many answers.",
        "Without labels neither the calibration figures nor their alerts can say anything.",
    )
    made.expect_alerts(name, (half + 16) * STEP)  # pending, for the window has all but run empty
    told = firing(name, {"scope": "base"}, "Feedback on base labels has dried up", *words)
    made.expect_alerts(name, (half + rest) * STEP, [told] if fires else [])
    return made


def starving_cases() -> list[Case]:
    return [
        feedback_starving("dried up", 20, 10, 0, fires=True),
        feedback_starving("a trickle is left", 20, 10, 0.5, fires=True),
        feedback_starving("as usual", 20, 10, 10, fires=False),
        feedback_starving("never any", 20, 0, 0, fires=False),
        feedback_starving("so little is usual that none is no news", 20, 0.5, 0, fires=False),
    ]


def store_cases() -> list[Case]:
    """It is pending for twice as long as other trouble of the service."""
    name, of = "CandorFeedbackStoreDown", {"instance": "x:3000", "job": JOB}
    gone = Case(f"{name}: of one replica", [gauge("candor_feedback_store_up", of, 0, END)])
    gone.series.append(gauge("candor_feedback_store_up", of | {"instance": "y:3000"}, 1, END))
    back = Case(f"{name}: back soon", [{"series": gone.series[0]["series"], "values": "0x7 1 0x7 1x8"}])
    words = (
        "x:3000 cannot read its feedback store, so it exports no counters of feedback.",
        "Mostly it cannot be written either: true labels are then answered with 503.",
        "Calibration figures run dry, and their alerts with them.",
    )
    gone.expect_alerts(name, 7 * STEP)
    gone.expect_alerts(name, 8 * STEP, [firing(name, of, "The feedback store of x:3000 cannot be read", *words)])
    for step in range(1, END):
        back.expect_alerts(name, step * STEP)
    return [gone, back]


def slow(name_of_case: str, route: str, requests: float, over_a_second: float, p99: str | None) -> Case:
    name, made = "CandorSlow", Case(f"CandorSlow: {name_of_case}", [])
    for le, growth in (("0.5", requests - over_a_second), ("1.0", requests - over_a_second), ("2.0", requests)):
        made.series.append(counter("candor_request_seconds_bucket", {"route": route, "le": le}, [(END, growth)]))
    made.series.append(counter("candor_request_seconds_bucket", {"route": route, "le": "+Inf"}, [(END, requests)]))
    made.series.append(counter("candor_request_seconds_count", {"route": route}, [(END, requests)]))
    summary = f"One classification in a hundred takes over {p99}"
    words = f"Over 2m, the 99th percentile of /v1/classify is {p99}.", "It should stay below 1 s."
    made.expect_alerts(name, 2 * STEP)
    made.expect_alerts(name, END * STEP, [firing(name, {}, summary, *words)] if p99 else [])
    return made


def slow_cases() -> list[Case]:
    """The bucket from one to two seconds holds 4 of 100: the 99th is three quarters into it."""
    return [
        slow("four in a hundred", "/v1/classify", 100, 4, "1.75s"),
        slow("half in a hundred", "/v1/classify", 200, 1, None),
        slow("another route", "/v1/lookup", 100, 4, None),
        slow("few requests", "/v1/classify", 6, 3, None),
        slow("none", "/v1/classify", 0, 0, None),
    ]


def errors(name_of_case: str, answers: Mapping[tuple[str, str], float], share: str | None) -> Case:
    name, made = "CandorErrors", Case(f"CandorErrors: {name_of_case}", [])
    for (route, status), growth in answers.items():
        labels = {"route": route, "status": status, "instance": "x"}
        made.series.append(counter("candor_requests_total", labels, [(END, growth)]))
    words = f"Over 2m, {share} of the requests were answered with a 5xx status.", "It should stay below 1%."
    made.expect_alerts(name, 5 * STEP)
    made.expect_alerts(name, END * STEP, [firing(name, {}, f"{share} of the requests fail", *words)] if share else [])
    return made


def error_cases() -> list[Case]:
    classify = "/v1/classify"
    return [
        errors("one in fifty", {(classify, "2xx"): 98, (classify, "5xx"): 2}, "2%"),
        errors("all of a few", {(classify, "2xx"): 0, (classify, "5xx"): 1}, "100%"),
        errors("probes do not water it down", {(classify, "2xx"): 3, (classify, "5xx"): 1, ("/livez", "2xx"): 900}, "25%"),
        errors("one in two hundred", {(classify, "2xx"): 199, (classify, "5xx"): 1}, None),
        errors("a handful", {(classify, "2xx"): 5, (classify, "5xx"): 0.5}, None),
        errors("not ready", {(classify, "2xx"): 10, ("/readyz", "5xx"): 10}, None),
        errors("the caller's own", {(classify, "2xx"): 10, (classify, "4xx"): 10, (classify, "5xx"): 0}, None),
        errors("nobody asks", {(classify, "2xx"): 0, (classify, "5xx"): 0}, None),
    ]


def down_cases() -> list[Case]:
    name, up = "CandorDown", {"job": JOB, "instance": "x:3000"}
    gone = Case("CandorDown: one of two", [gauge("up", up, 0, END), gauge("up", up | {"instance": "y:3000"}, 1, END)])
    lost = Case("CandorDown: none is known", [gauge("up", {"job": "prometheus", "instance": "p"}, 1, END)])
    fine = Case("CandorDown: up", [gauge("up", up, 1, END), gauge("up", up | {"job": "other"}, 0, END)])
    cause = "The process is gone, the network is, or the key of the scrape is refused."
    for case, labels, who in ((gone, up, "x:3000"), (lost, {"job": JOB}, "every instance")):
        told = firing(name, labels, f"Candor is down: {who}", f"Prometheus cannot read /metrics of {who}.", cause)
        case.expect_alerts(name, 3 * STEP)
        case.expect_alerts(name, END * STEP, [told])
    fine.expect_alerts(name, END * STEP)
    return [gone, lost, fine]


# Of each alert: the windows that it looks at, and its cases.
CASES: dict[str, tuple[tuple[str, ...], Callable[[], list[Case]]]] = {
    "CandorOverconfidentOnNew": (("1m", "2m"), lambda: [overconfident()]),
    "CandorUnderconfidentOnBase": (("1m", "2m"), lambda: [underconfident()]),
    "CandorConfidenceDrift": (("1m", "2m"), lambda: [confidence_drift()]),
    "CandorOpenSetSurge": (("1m", "8m"), lambda: [open_set_surge()]),
    "CandorFeedbackStarving": (("4m", "8m"), starving_cases),
    "CandorFeedbackStoreDown": ((), store_cases),
    "CandorSlow": ((), slow_cases),
    "CandorErrors": ((), error_cases),
    "CandorDown": ((), down_cases),
}


@needs_promtool
@pytest.mark.parametrize("name", CASES)
def test_it_fires_when_it_must_and_then_only(name: str, tmp_path: Path) -> None:
    windows, cases = CASES[name]
    alert = next(alert for alert in all_alerts(TIMES) if alert.name == name)
    file = tmp_path / "rules.yml"
    file.write_text(yaml_text({"groups": [*needed(alert, windows), {"name": "alert", "rules": [alert.to_dict(RUNBOOKS)]}]}))
    run(tmp_path, [file], cases())


def needed(alert: Alert, windows: tuple[str, ...]) -> list[dict[str, Any]]:
    """The recording rules that an alert reads, and those that these read: promtool takes its time for each."""
    groups: list[dict[str, Any]] = rules(windows, f"{STEP}s")["groups"] if windows else []  # type: ignore[assignment]
    read, kept = f"{alert.expr} {alert.description}", []
    for group in reversed(groups):
        used = []
        for rule in reversed(group["rules"]):
            if rule["record"] in read:
                used.append(rule)
                read += f" {rule['expr']}"
        kept.append(group | {"rules": used[::-1]})
    return kept[::-1]


def test_no_alert_is_without_a_test_of_both() -> None:
    assert list(CASES) == [alert.name for alert in all_alerts(AlertTimes())]
    for name, (_, cases) in CASES.items():
        told = [told for case in cases() for told in case.alerts]
        assert {each["alertname"] for each in told} == {name}
        assert {bool(each["exp_alerts"]) for each in told} == {True, False}


def test_default_times_are_those_of_the_default_windows() -> None:
    assert AlertTimes.of() == AlertTimes()
    assert AlertTimes.of(("1m",), "1s") == AlertTimes("1m", "1m", "1m", "1m", "10s", "30s", "10s")
    assert AlertTimes.of(("1m", "5m"), "2s") == AlertTimes("1m", "5m", "1m", "5m", "20s", "1m", "20s")


def test_alerts_look_at_windows_that_are_recorded() -> None:
    recorded = {rule["record"] for group in rules()["groups"] for rule in group["rules"]}  # type: ignore[attr-defined]
    asked = {
        word
        for alert in all_alerts(AlertTimes())
        for word in f"{alert.expr} {alert.description}".replace("{", " ").replace("(", " ").replace(")", " ").split()
        for word in [word.strip('"-')]
        if word.startswith("candor:")
    }
    assert len(asked) > 10
    assert asked - recorded == set()


def test_a_single_replica_that_is_down_mutes_no_alert_of_the_whole_service() -> None:
    """Alertmanager's matchers: a label that is missing is an empty one."""
    rules = yaml.safe_load((ROOT / "monitoring/alertmanager/alertmanager.yml").read_text())["inhibit_rules"]

    def muted_by(labels: Mapping[str, str]) -> set[str]:
        muted = set()
        for rule in rules:
            wanted = [re.fullmatch(r'(\w+)(=~?)"(.*)"', text) for text in rule["source_matchers"]]
            if all(re.fullmatch(m[3], labels.get(m[1], "")) for m in wanted):
                muted |= {text for text in rule["target_matchers"] if "CandorErrors" in text}
        return muted

    assert muted_by({"alertname": "CandorDown", "job": JOB, "instance": "x:3000"}) == set()
    assert len(muted_by({"alertname": "CandorDown", "job": JOB})) == 1


@pytest.mark.parametrize("name", CASES)
def test_each_has_a_runbook(name: str) -> None:
    text = (ROOT / "docs" / "runbooks" / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    for part in ("## What it means", "## How to look", "## What to do", "## When it is a false alarm"):
        assert text.count(f"\n{part}\n") == 1


def queries(page: Path) -> list[str]:
    """The PromQL of a page, a query a line, without comments."""
    blocks = re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL)
    return [query for block in blocks for line in block.splitlines() if (query := line.split("#")[0].strip())]


@needs_promtool
def test_runbooks_ask_what_prometheus_understands(tmp_path: Path) -> None:
    pages = sorted((ROOT / "docs" / "runbooks").glob("Candor*.md"))
    asked = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(q for page in pages for q in queries(page))]
    assert len(asked) > 20
    file = tmp_path / "queries.yml"
    file.write_text(yaml_text({"groups": [{"name": "queries", "rules": asked}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_runbooks_ask_for_what_is_there() -> None:
    recorded = {rule["record"] for group in rules()["groups"] for rule in group["rules"]}  # type: ignore[attr-defined]
    for page in sorted((ROOT / "docs" / "runbooks").glob("Candor*.md")):
        for query in queries(page):
            names = set(re.findall(r"\bcandor_[a-z_]+\b(?!:)|\bcandor(?:_[a-z]+)?:[a-z0-9_]+:[a-z0-9_]+", query))
            assert names - recorded - exported_names() == set(), f"{page.name}: {query}"
