"""Every recording rule, in promtool, against `candor.calibration` on the same counters."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2

from candor.calibration import drift, scores
from candor.calibration.bins import ReliabilityBins
from candor.errors import InvalidInput
from monitoring.durations import seconds
from monitoring.files import ROOM
from monitoring.rule import LIFETIME
from monitoring.rules import reference_rules, rules, window_rules
from monitoring.yaml_text import yaml_text
from service.feedback.bins import BIN_NAMES
from service.reference import UPPER_EDGES
from tests.monitoring.promtool import STEP, Case, Labels, counter, needs_promtool, run
from tests.monitoring.traffic import Events, Labelled, Predicted, in_bins, reference

WINDOWS = ("1m", "3m")
END = 16  # steps; longer than the longest window
Expected = dict[str, list[tuple[Labels, float]]]


def events(seed: int, number: int, sharpness: float) -> Events:
    """Answers that are right less often than they are sure, with some on the edges of bins."""
    random = np.random.default_rng(seed)
    confidence = random.beta(sharpness, 1.5, number)
    confidence[:4] = 0.0, 0.05, 0.35, 1.0
    return confidence, (random.random(number) < 0.8 * confidence).astype(np.float64)


# The artifact "a" has two instances with different traffic; "quiet" has 40 labels and predictions in all.
LABELLED = [
    Labelled("a", "base", "x", events(1, 60, 3.0)),
    Labelled("a", "base", "y", events(2, 25, 2.0)),
    Labelled("a", "new", "x", events(3, 40, 1.0)),
    Labelled("a", "new", "y", events(4, 7, 1.0)),
]
PREDICTED = [
    Predicted("a", "base", "x", events(5, 90, 3.0)[0]),
    Predicted("a", "base", "y", events(6, 50, 2.5)[0]),
    Predicted("a", "new", "x", events(7, 70, 1.2)[0]),
    Predicted("a", "new", "y", events(8, 30, 1.1)[0]),
]
REFERENCE = {"base": in_bins(events(9, 700, 4.0)[0]), "new": in_bins(events(10, 300, 1.5)[0])}
KNOWN = {"true": 31.0, "false": 9.0, "unscored": 50.0}  # with each scrape, of each scope
OUTSIDE = {"base": 3.0, "new": 5.0}
OF_LABEL_SETS = {"text_deviation": (5.0, 20.0), "divergence": (14.5, 16.0)}  # sum, number


def quiet(artifact: str, growth: float) -> list[dict[str, str]]:
    """An artifact with too little traffic to say anything: one event of the first of `LABELLED` and `PREDICTED`."""
    few = tuple(column[4:5] for column in LABELLED[0].events)
    phases = [(END, growth)]
    return [
        *Labelled(artifact, "base", "x", few).series(phases),  # type: ignore[arg-type]
        *Predicted(artifact, "base", "x", few[0]).series(phases),
        *reference({"artifact": artifact, "scope": "base"}, REFERENCE["base"], ["x"], END),
        counter("candor_predictions_total", {"artifact": artifact, "scope": "base", "known": "false"}, phases),
        counter("candor_feedback_outside_total", {"artifact": artifact, "scope": "base", "known": "true"}, [(END, 0.0)]),
    ]


def series() -> list[dict[str, str]]:
    always = [(END, 1.0)]
    found = [line for each in [*LABELLED, *PREDICTED] for line in each.series(always)]
    for scope, counts in REFERENCE.items():
        labels = {"artifact": "a", "scope": scope}
        found += reference(labels, counts, ["x", "y"], END)
        for known, growth in KNOWN.items():
            found.append(counter("candor_predictions_total", labels | {"known": known, "instance": "x"}, [(END, growth)]))
        outside = labels | {"known": "true", "instance": "y"}
        found.append(counter("candor_feedback_outside_total", outside, [(END, OUTSIDE[scope])]))
    for name, parts in OF_LABEL_SETS.items():
        for part, growth in zip(("sum", "count"), parts, strict=True):
            found.append(counter(f"candor_{name}_{part}", {"artifact": "a", "instance": "x"}, [(END, growth)]))
            found.append(counter(f"candor_{name}_{part}", {"artifact": "idle", "instance": "x"}, [(END, 0.0)]))
            found.append(counter(f"candor_{name}_{part}", {"artifact": "quiet", "instance": "x"}, [(END, 40 / END)]))
    return [*found, *quiet("quiet", 40 / END), *quiet("idle", 0.0)]


def labelled_bins(scope: str, steps: float) -> ReliabilityBins:
    bins = [each.bins for each in LABELLED if each.scope == scope]
    return ReliabilityBins(
        *(steps * (getattr(bins[0], c) + getattr(bins[1], c)) for c in ("count", "confidence", "correct"))
    )


def predicted(scope: str) -> NDArray[np.float64]:
    return np.concatenate([each.confidence for each in PREDICTED if each.scope == scope])


def expected(window: str, steps: float) -> Expected:
    """Every series of every rule of a window, but those of the artifacts with little traffic."""
    found: Expected = {}

    def add(name: str, labels: Labels, value: float) -> None:
        found.setdefault(f"{name}{window}", []).append((labels, value))

    for scope in ("base", "new"):
        labels = {"artifact": "a", "scope": scope}
        expect_calibration(add, labels, labelled_bins(scope, steps))
        squared = sum(each.squared_error for each in LABELLED if each.scope == scope)
        add("candor:brier:mean", labels, squared * steps / labelled_bins(scope, steps).total)
        expect_drift(add, labels, predicted(scope), steps)
        add("candor:feedback_coverage:ratio", labels, labelled_bins(scope, 1).total / len(predicted(scope)))
    artifact = {"artifact": "a"}
    judged, outside = KNOWN["true"] + KNOWN["false"], sum(OUTSIDE.values())
    add("candor:judged:increase", artifact, 2 * judged * steps)
    add("candor:open_set:ratio", artifact, KNOWN["false"] / judged)
    labelled = sum(labelled_bins(scope, 1).total for scope in ("base", "new"))
    add("candor:feedback_outside:ratio", artifact, outside / (outside + labelled))
    for name, (total, number) in OF_LABEL_SETS.items():
        add(f"candor:{name}:mean", artifact, total / number)
    return found


def expect_calibration(add, labels: Labels, bins: ReliabilityBins) -> None:
    add("candor:feedback:increase", labels, bins.total)
    deciles = bins.merged(2)
    columns = {"feedback": "count", "feedback_confidence": "confidence", "feedback_correct": "correct"}
    for name, column in columns.items():
        for b in range(20):
            add(f"candor_bin:{name}:increase", {**labels, "bin": BIN_NAMES[b]}, getattr(bins, column)[b])
        for b in range(10):
            add(f"candor_decile:{name}:increase", {**labels, "decile": f"{b / 10:.1f}"}, getattr(deciles, column)[b])
    for number, of in (("20", bins), ("10", deciles)):
        named = {**labels, "bins": number}
        add("candor:ece:ratio", named, scores.ece(of))
        add("candor:ece_floor:ratio", named, scores.noise_floor(of))
        add("candor:mce:ratio", named, scores.mce(of, least=10))
        add("candor:l2_debiased:ratio", named, scores.debiased_l2(of))
    add("candor:gap:ratio", labels, scores.gap(bins))
    add("candor:gap_floor:ratio", labels, scores.gap_floor(bins))
    add("candor:accuracy:ratio", labels, scores.accuracy(bins))


def expect_drift(add, labels: Labels, confidence: NDArray[np.float64], steps: float) -> None:
    counts, reference_counts = in_bins(confidence) * steps, REFERENCE[labels["scope"]]
    n, m = counts.sum(), reference_counts.sum()
    for b in range(20):
        add("candor_bin:predictions:increase", {**labels, "bin": BIN_NAMES[b]}, counts[b])
        add("candor_bin:confidence_share:ratio", {**labels, "bin": BIN_NAMES[b]}, (counts[b] + 0.5) / (n + 10))
        add("candor_le:confidence_cdf:ratio", {**labels, "le": UPPER_EDGES[b]}, counts[: b + 1].sum() / n)
    add("candor_le:confidence_cdf:ratio", {**labels, "le": "+Inf"}, 1.0)
    add("candor:predictions:increase", labels, n)
    add("candor:confidence:mean", labels, confidence.mean())
    add("candor:psi:ratio", labels, drift.psi(counts, reference_counts))
    add("candor:psi_floor:ratio", labels, chi2.ppf(0.99, 19) * (1 / n + 1 / m))
    add("candor:ks:ratio", labels, drift.ks(counts, reference_counts))
    add("candor:ks_floor:ratio", labels, math.sqrt(-math.log(0.005) / 2) * math.sqrt(1 / n + 1 / m))
    add("candor:wasserstein:ratio", labels, drift.wasserstein(counts, reference_counts))


def case(windows: Sequence[str]) -> Case:
    """Traffic of four minutes, and what each rule gives at its end: no score of "quiet" and "idle"."""
    made = Case("two instances, and two artifacts with too little traffic", series())
    end = END * STEP
    for window in windows:
        steps = END if window == LIFETIME else min(END, seconds(window) // STEP)
        for name, samples in expected(window, steps).items():
            one = name if ":increase" not in name else f'{name}{{artifact="a"}}'
            made.expect_figures(one, end, samples)
            made.figures.append({"expr": f"{name} != {name}", "eval_time": f"{end}s"})  # NaN
    made.expect_figures("candor_bin:reference_share:ratio", end, shares_of_references())
    return made


def shares_of_references() -> list[tuple[Labels, float]]:
    of = {("a", scope): counts for scope, counts in REFERENCE.items()}
    of |= {(artifact, "base"): REFERENCE["base"] for artifact in ("quiet", "idle")}
    return [
        ({"artifact": artifact, "scope": scope, "bin": BIN_NAMES[b]}, (counts[b] + 0.5) / (counts.sum() + 10))
        for (artifact, scope), counts in of.items()
        for b in range(20)
    ]


def asked_for(made: Case) -> set[str]:
    """Names of the rules that a case asks for a value of."""
    return {figure["expr"].removeprefix("round(").split("{")[0].split(" ")[0] for figure in made.figures}


def recorded(content: dict) -> set[str]:
    return {rule["record"] for group in content["groups"] for rule in group["rules"]}


@needs_promtool
def test_every_rule_gives_what_candor_calibration_gives(tmp_path: Path) -> None:
    content, made = rules(WINDOWS, f"{STEP}s"), case(WINDOWS)
    assert asked_for(made) == recorded(content)
    file = tmp_path / "recording.yml"
    file.write_text(yaml_text(content))
    run(tmp_path, [file], [made])


@needs_promtool
def test_the_committed_rules_give_it_too(tmp_path: Path) -> None:
    """Over windows that are longer than the traffic, of which they so hold all."""
    made = case(("1h", "6h", "1d", "7d"))
    assert asked_for(made) == recorded(rules())
    run(tmp_path, [ROOM / "prometheus" / "rules" / "recording.yml"], [made])


@needs_promtool
def test_rules_of_all_that_was_ever_counted(tmp_path: Path) -> None:
    listed = [rule.to_dict() for rule in [*reference_rules(), *window_rules(LIFETIME)]]
    file = tmp_path / "lifetime.yml"
    file.write_text(yaml_text({"groups": [{"name": "lifetime", "rules": listed}]}))
    run(tmp_path, [file], [case([LIFETIME])])


@needs_promtool
def test_an_instance_that_starts_again_and_one_that_vanishes_are_counted_for_what_they_saw(tmp_path: Path) -> None:
    """x counts 3 a scrape, but starts again half-way: the 3 of that scrape are never seen. y has gone."""
    labels = {"artifact": "a", "scope": "new", "bin": "0.80"}
    x = {"series": counter("candor_feedback_total", labels | {"instance": "x"}, [])["series"], "values": "100+3x15 0+3x4"}
    y = {"series": counter("candor_feedback_total", labels | {"instance": "y"}, [])["series"], "values": "7+5x15 stale"}
    made = Case("restart", [x, y])
    # 20 steps: x has 12..20, and y 12..15: 15 seen, and as much again as the half scrape after its end
    scope = {"artifact": "a", "scope": "new"}
    made.expect_figures("candor:feedback:increase2m", 20 * STEP, [(scope, 21.0 + 15.0 * (45 + 7.5) / 45)])
    file = tmp_path / "recording.yml"
    file.write_text(yaml_text(rules(("2m",), f"{STEP}s")))
    run(tmp_path, [file], [made])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not installed")
def test_prometheus_takes_the_committed_files() -> None:
    folder = ROOM / "prometheus"
    config = ["promtool", "check", "config", "--syntax-only", str(folder / "prometheus.yml")]  # the key file is elsewhere
    listed = ["promtool", "check", "rules", *map(str, sorted(folder.glob("rules/*.yml")))]
    for command in (config, listed):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SUCCESS" in done.stdout


def test_windows_of_days_are_evaluated_less_often_but_within_prometheus_memory() -> None:
    groups = {group["name"]: group["interval"] for group in rules()["groups"]}  # type: ignore[attr-defined]
    assert groups == {
        "candor-reference": "30s",
        "candor-1h": "30s",
        "candor-6h": "30s",
        "candor-1d": "30s",
        "candor-7d": "2m",
    }


@pytest.mark.parametrize(
    ("windows", "interval", "said"),
    [
        ((), "30s", "at least one window"),
        (("1h", "1h"), "30s", "must grow, got 1h,1h"),
        (("6h", "1h"), "30s", "must grow"),
        (("1m",), "30s", "at least four intervals"),
        (("1.5h",), "30s", "'1.5h' is no duration"),
        (("0h",), "30s", "'0h' is no duration"),
        (("1h[5m]) or up #",), "30s", "is no duration"),
        (("1h",), "soon", "'soon' is no duration"),
    ],
)
def test_windows_that_cannot_be_are_refused(windows: tuple[str, ...], interval: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said.replace("(", r"\(")):
        rules(windows, interval)
