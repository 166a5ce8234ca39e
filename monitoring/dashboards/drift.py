"""The dashboard of drift: has anything changed, before a label says so?"""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.models.dashboard import Dashboard

from candor.calibration.limits import PSI_LIMIT
from monitoring.dashboards.board import Row, board
from monitoring.dashboards.panels import PLAIN, RED, SHARE, Panel, bars, lines, rows_of_numbers, runbook
from monitoring.dashboards.queries import OF_ARTIFACT, SCOPED, WHOSE, Query, constant, rule

PSI = """**Population stability index** of confidence against the artifact's own held-out images: sum over bins of \
(now − reference) · ln(now / reference). 0 is the same shape; above **0.2** (red) is customarily a real change.

The dashed line is its floor: with so few predictions chance alone gets there once in a hundred. Believe a value that \
is above **both**. No label is needed for this."""

KS = """**Kolmogorov-Smirnov**: the largest distance between the two cumulative distributions of confidence. The \
dashed line is what chance alone passes once in a hundred. It sees a shift of everybody a little; PSI sees a few who \
moved far."""

WASSERSTEIN = """**Wasserstein distance**: how far, on average, a prediction's confidence would have to move to turn \
today's histogram into the reference. It is in the unit of confidence itself: 0.10 is ten points. Use it to say *how \
much*; PSI and KS say *whether*."""

MEAN = """Mean confidence of all predictions, which for a calibrated model is the accuracy it expects. Dashed: on the \
artifact's held-out images. Far below: harder images. Far above on *new* labels: the pattern of over-confidence; wait \
for labels, or send some."""

HISTOGRAM = """Share of predictions by confidence (bins named by their lower edge), in the window and on the \
artifact's held-out images. It shows *where* the drift is that PSI puts into one number: a hump that wanders left is \
harder images; mass that appears in the last bin only is sureness that the artifact never had.

Several chosen artifacts are averaged; choose one to see one."""

COUNTS = """How many predictions and how many held-out images are behind the bars, and the distances between them. A \
floor above 0.2 means that there are too few predictions for any verdict."""

DEVIATION = """**Text deviation** of requested label sets: mean 1 − cos(tuned, hand-written) of their labels' text \
features. It needs neither images nor labels. Dashed: the same of the artifact's own base labels and of the held-out \
ones it was evaluated on.

Above both: callers ask for labels on which tuning moved the text further than on anything that was tested, and \
calibration there is unknown."""

DIVERGENCE = """**Feature divergence** of requested label sets: how far a label is from its nearest in the same set. \
Low: labels that resemble each other, so that confidence *should* be lower. Dashed: of the artifact's base and \
held-out labels."""

OPEN_SET = """Share of images, of those that were judged, that seem to show **none** of their labels (`open_set.known: \
false`). A surge: another camera, a new product, a wrong label set. No feedback is needed for it."""

OUTSIDE = """Share of feedback whose true label was **not among the labels of the request**. It is the truth behind \
the graph on the left, later. Such feedback is not counted in any calibration score: confidence is conditional on the \
labels given."""


def drift_dashboard(windows: Sequence[str]) -> Dashboard:
    """Confidence against the reference, requested labels, and images that show none of them.

    Args:
        windows: of the recording rules.
    """
    text = "What can be told before labels arrive: confidence against the artifact's reference, label sets, unknown images."
    rows = (
        Row("Confidence against the reference", _distances()),
        Row("Confidence on $scope labels, now and in the reference", _histogram(), repeat="scope"),
        Row("Labels that are asked for, and images that show none", _label_sets()),
    )
    return board("candor-drift", "Candor: drift", text, rows, ("artifact", "scope", "window"), windows, since="now-7d")


def _distances() -> tuple[Panel, ...]:
    return (
        _distance("PSI of confidence", PSI, PLAIN, "psi", steps=((PSI_LIMIT, RED),)).links(
            [runbook("CandorConfidenceDrift")]
        ),
        _distance("Kolmogorov-Smirnov distance", KS, PLAIN, "ks"),
        lines("Wasserstein distance", WASSERSTEIN, PLAIN, Query(rule("candor:wasserstein:ratio"), WHOSE), least=0),
        lines(
            "Mean confidence",
            MEAN,
            SHARE,
            Query(rule("candor:confidence:mean"), WHOSE),
            Query(constant("candor_reference_mean_confidence_ratio"), f"{WHOSE} reference", bound=True),
            most=1,
        ),
    )


def _distance(title: str, reads: str, unit: str, name: str, steps: tuple[tuple[float, str], ...] = ()) -> Panel:
    floor = Query(rule(f"candor:{name}_floor:ratio"), f"{WHOSE} floor", bound=True)
    return lines(title, reads, unit, Query(rule(f"candor:{name}:ratio"), WHOSE), floor, least=0, steps=steps)


def _histogram() -> tuple[Panel, ...]:
    predictions = f"sum by (bin) ({rule('candor_bin:predictions:increase')})"
    all_of_them = f"(sum ({rule('candor_bin:predictions:increase')}) > 0)"
    reference = f"avg by (bin) ({constant('candor_reference_confidence_ratio', 'artifact, scope, bin')})"
    both = (Query(f"{predictions} / on () group_left () {all_of_them}", "now"), Query(reference, "reference"))
    columns = (
        Query(rule("candor:predictions:increase"), "predictions"),
        Query(f"candor_reference_predictions{{{SCOPED}}}", "reference"),
        Query(rule("candor:psi:ratio"), "PSI"),
        Query(rule("candor:psi_floor:ratio"), "PSI floor"),
    )
    plain = tuple(Query(f"max by (artifact) ({each.expr})", each.name) for each in columns)
    units = {"predictions": PLAIN, "reference": PLAIN}
    return (
        bars("Confidence", HISTOGRAM, SHARE, *both, label="bin", span=15),
        rows_of_numbers("Behind it", COUNTS, *plain, units=units, sort="artifact", span=9, height=9),
    )


def _label_sets() -> tuple[Panel, ...]:
    return (
        _against_reference("Text deviation of requested labels", DEVIATION, "text_deviation"),
        _against_reference("Divergence of requested labels", DIVERGENCE, "divergence"),
        _share("Images that seem to show no label", OPEN_SET, "candor:open_set:ratio"),
        _share("Feedback with another label than those given", OUTSIDE, "candor:feedback_outside:ratio"),
    )


def _against_reference(title: str, reads: str, name: str) -> Panel:
    seen = Query(rule(f"candor:{name}:mean", OF_ARTIFACT), "{{artifact}}")
    reference = Query(constant(f"candor_reference_{name}", matchers=OF_ARTIFACT), f"{WHOSE} labels", bound=True)
    return lines(title, reads, PLAIN, seen, reference, least=0)


def _share(title: str, reads: str, name: str) -> Panel:
    panel = lines(title, reads, SHARE, Query(rule(name, OF_ARTIFACT), "{{artifact}}"), least=0, most=1)
    return panel.links([runbook("CandorOpenSetSurge")])
