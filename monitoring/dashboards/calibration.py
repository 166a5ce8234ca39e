"""The dashboard of calibration: is the confidence true?"""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.models.dashboard import Dashboard

from candor.calibration.limits import LEAST
from monitoring.alerts import GAP as OFF
from monitoring.dashboards.board import Row, board
from monitoring.dashboards.panels import PLAIN, RED, SHARE, YELLOW, Panel, lines, rows_of_numbers, runbook
from monitoring.dashboards.queries import SCOPED, WHOSE, Query, rule
from monitoring.dashboards.reliability import reliability_panels

TEN = f'{SCOPED}, bins="10"'
TWENTY = f'{SCOPED}, bins="20"'

SUMMARY = """One row for each artifact and scope, over the chosen window, of the predictions that have feedback.

**Gap** is confidence minus accuracy: positive is over-confident. Read it only where it is larger than its **floor**, \
what a calibrated model would show by chance. Likewise **ECE**, the mean distance of the bins, against its own floor: \
it is never zero, not even for a perfect model. With fewer than 50 labels a row stays empty on purpose."""

ECE = """**Expected calibration error**, 10 bins: the mean distance between confidence and accuracy, bin by bin.

The dashed line is what a *perfectly calibrated* model would show with as many labels: ECE cannot go below it for \
long. Distance between the solid and the dashed line is miscalibration; height alone is not."""

GAP = """**Confidence minus accuracy.** Above zero the service promises too much (dangerous where answers are accepted \
automatically), below zero too little (work for people that nobody needed).

The dashed lines are two standard errors either way of a calibrated model with as many labels: between them a gap \
means nothing."""

ACCURACY = """Solid: how often the service was right, by feedback. Dashed: how often it *expects* to be right, the \
mean confidence of **all** predictions, labelled or not.

If both fall together the images became harder and the service knows it. If accuracy falls alone, the confidence is no \
longer true. Before labels arrive only the dashed line moves."""

BRIER = """Mean of (confidence − correct)². It falls with better calibration *and* with better accuracy: 0 is perfect, \
0.25 is a coin that says 50 %. Good for comparing two artifacts on the same traffic, such as before and after a \
calibration."""

DEBIASED = """The squared calibration error (L2) with its chance part taken away (Kumar et al. 2019). Around **zero, \
also below it**, is calibrated, whatever the number of labels: unlike ECE it can be compared between quiet and busy \
hours."""

MCE = """**Maximum calibration error**: the worst bin of 10, among bins with at least 10 labels. It is noisy by \
nature; look at the reliability diagram for which bin it is, and at its noise."""

ECE_20 = """As ECE on the left with twice as many bins: it sees finer wiggles and has a higher floor. If both agree, \
the number of bins is no matter."""

LABELS = (
    """Predictions with feedback in the window. Below the dashed red line (50) no score is shown: absent beats wrong."""
)


def calibration_dashboard(windows: Sequence[str]) -> Dashboard:
    """Reliability by scope, and every score with its noise over time.

    Args:
        windows: of the recording rules.
    """
    text = "Is the confidence true? By scope, artifact and window, with what chance alone would show beside each score."
    rows = (
        Row("Now", (_summary(),)),
        Row("Reliability on $scope labels", reliability_panels(), repeat="scope"),
        Row("Over time", _history()),
    )
    return board(
        "candor-calibration", "Candor: calibration", text, rows, ("artifact", "scope", "window"), windows, since="now-7d"
    )


def _summary() -> Panel:
    columns = (
        Query(rule("candor:feedback:increase"), "labelled"),
        Query(rule("candor:accuracy:ratio"), "accuracy"),
        Query(rule("candor:gap:ratio"), "gap"),
        Query(rule("candor:gap_floor:ratio"), "gap floor"),
        Query(rule("candor:ece:ratio", TEN), "ECE"),
        Query(rule("candor:ece_floor:ratio", TEN), "ECE floor"),
        Query(rule("candor:brier:mean"), "Brier"),
        Query(rule("candor:feedback_coverage:ratio"), "coverage"),
    )
    # The rules' names differ, and would make rows of their own.
    plain = tuple(Query(f"max by (artifact, scope) ({each.expr})", each.name) for each in columns)
    panel = rows_of_numbers("In the window", SUMMARY, *plain, units={"labelled": PLAIN}, sort="artifact", height=6)
    return panel.links([runbook("CandorOverconfidentOnNew"), runbook("CandorUnderconfidentOnBase")])


def _history() -> tuple[Panel, ...]:
    return (
        _with_floor("ECE (10 bins)", ECE, TEN, "candor:ece:ratio", "candor:ece_floor:ratio"),
        _gap().links([runbook("CandorOverconfidentOnNew"), runbook("CandorUnderconfidentOnBase")]),
        lines(
            "Accuracy and expected accuracy",
            ACCURACY,
            SHARE,
            Query(rule("candor:accuracy:ratio"), f"{WHOSE} accuracy"),
            Query(rule("candor:confidence:mean"), f"{WHOSE} expected", bound=True),
            most=1,
        ),
        lines("Brier score", BRIER, PLAIN, Query(rule("candor:brier:mean"), WHOSE), least=0, steps=((0.25, YELLOW),)),
        lines(
            "Debiased squared error",
            DEBIASED,
            PLAIN,
            Query(rule("candor:l2_debiased:ratio", TEN), WHOSE),
            steps=((0, YELLOW),),
        ),
        lines("Worst bin (MCE)", MCE, SHARE, Query(rule("candor:mce:ratio", TEN), WHOSE), least=0),
        _with_floor("ECE (20 bins)", ECE_20, TWENTY, "candor:ece:ratio", "candor:ece_floor:ratio"),
        lines(
            "Labelled predictions",
            LABELS,
            PLAIN,
            Query(rule("candor:feedback:increase"), WHOSE),
            least=0,
            steps=((LEAST, RED),),
        ),
    )


def _with_floor(title: str, reads: str, matchers: str, score: str, floor: str) -> Panel:
    seen = Query(rule(score, matchers), WHOSE)
    return lines(title, reads, SHARE, seen, Query(rule(floor, matchers), f"{WHOSE} floor", bound=True), least=0)


def _gap() -> Panel:
    floor = rule("candor:gap_floor:ratio")
    bounds = (Query(floor, f"{WHOSE} floor", bound=True), Query(f"-{floor}", f"{WHOSE} −floor", bound=True))
    gap = Query(rule("candor:gap:ratio"), WHOSE)
    steps = ((-OFF, RED), (0, YELLOW), (OFF, RED))
    return lines("Gap: confidence minus accuracy", GAP, SHARE, gap, *bounds, steps=steps)
