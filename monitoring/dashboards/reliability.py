"""The panels of one scope's reliability: how often the service was right, by how sure it was."""

from __future__ import annotations

from grafana_foundation_sdk.builders import common, xychart
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.xychart import SeriesMapping, XYShowMode

from monitoring.dashboards.panels import (
    DASHED,
    PLAIN,
    SHARE,
    SOURCE,
    Panel,
    bars,
    joined,
    rows_of_numbers,
    runbook,
    targets,
)
from monitoring.dashboards.queries import Query, rule


def _by_bin(counter: str) -> str:
    return f"sum by (bin) ({rule(f'candor_bin:{counter}:increase')})"


# Bins without feedback are left out of each: the chart would draw what is missing at zero.
LABELLED = f"({_by_bin('feedback')} > 0)"
CONFIDENCE = f"{_by_bin('feedback_confidence')} / {LABELLED}"
ACCURACY = f"{_by_bin('feedback_correct')} / {LABELLED}"
NOISE = f"2 * sqrt(clamp_min({CONFIDENCE} * (1 - {CONFIDENCE}), 0) / {LABELLED})"

CHART = """**Each dot is a confidence bin**: how sure the service was (across) against how often it was right (up), \
over the chosen window, of the predictions that have feedback.

On the dashed line 60 % confidence is right 60 % of the time. **Dots below it are over-confident**, dots above it \
under-confident.

Between the dotted lines (two standard errors) a dot may lie by chance alone: with few labels the band is wide, and \
nothing outside the table's last column should be believed. The lines are drawn from the first to the last bin that \
has feedback.

Several chosen artifacts are added up; choose one to see one."""

COUNTS = """How many predictions fell into each bin (named by its lower edge), and how many of those have a true label \
by now.

A dot of the diagram on the left is worth as much as its bar here is high. Labels that come only for some confidences \
(a person sees the unsure ones) show as bins with predictions and no feedback: the diagram is right bin by bin, the \
means over all bins are not."""

BINS = """The numbers behind the diagram. **Gap** is confidence minus accuracy: positive is over-confident. It means \
something where it is larger than **noise**, two standard errors of a calibrated bin with as many labels."""


def reliability_panels() -> tuple[Panel, ...]:
    """The diagram, the counts of its bins, and both as a table."""
    bins = (
        Query(LABELLED, "labelled"),
        Query(CONFIDENCE, "confidence"),
        Query(ACCURACY, "accuracy"),
        Query(f"{CONFIDENCE} - {ACCURACY}", "gap"),
        Query(NOISE, "noise"),
    )
    counts = (Query(_by_bin("predictions"), "predictions"), Query(_by_bin("feedback"), "labelled"))
    return (
        _diagram().links([runbook("CandorOverconfidentOnNew"), runbook("CandorUnderconfidentOnBase")]),
        bars("Predictions and labels by confidence", COUNTS, PLAIN, *counts, label="bin", span=7, height=11),
        rows_of_numbers("Bins", BINS, *bins, units={"labelled": PLAIN}, sort="bin", span=8, height=11),
    )


def _diagram() -> xychart.Panel:
    queries = (
        Query(CONFIDENCE, "confidence"),
        Query(ACCURACY, "accuracy"),
        Query(CONFIDENCE, "calibrated", bound=True),
        Query(f"clamp_max({CONFIDENCE} + {NOISE}, 1)", "noise, upper", bound=True),
        Query(f"clamp_min({CONFIDENCE} - {NOISE}, 0)", "noise, lower", bound=True),
        Query(LABELLED, "labelled"),
    )
    panel = xychart.Panel().title("Reliability").description(CHART).datasource(SOURCE).unit(SHARE).min(0).max(1)
    panel.targets(targets(queries, instant=True, form=PromQueryFormat.TABLE)).transformations(joined(queries, "confidence"))
    panel.mapping(SeriesMapping.MANUAL).series([_series(query.name) for query in queries[1:5]]).span(9).height(11)
    panel.show(XYShowMode.POINTS).point_size(xychart.XychartFieldConfigPointSize().fixed(10)).fill_opacity(70)
    panel.legend(common.VizLegendOptions().show_legend(True).display_mode(looks.LegendDisplayMode.LIST))
    panel.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.SINGLE))
    panel.override_by_name("confidence", [DynamicConfigValue("custom.axisLabel", "confidence")])
    panel.override_by_name("accuracy", [DynamicConfigValue("custom.axisLabel", "accuracy"), *_colour("blue")])
    panel.override_by_name("calibrated", [DynamicConfigValue("custom.show", "lines"), *DASHED, *_colour("text")])
    for name in ("noise, upper", "noise, lower"):
        panel.override_by_name(name, [DynamicConfigValue("custom.show", "lines"), *DOTTED, *_colour("semi-dark-orange")])
    return panel.override_by_name("labelled", [DynamicConfigValue("unit", PLAIN), DynamicConfigValue("max", None)])


DOTTED = (
    DynamicConfigValue("custom.lineStyle", {"fill": "dot", "dash": [0, 6]}),
    DynamicConfigValue("custom.lineWidth", 1),
)


def _colour(name: str) -> tuple[DynamicConfigValue, ...]:
    return (DynamicConfigValue("color", {"mode": "fixed", "fixedColor": name}),)


def _series(y: str) -> xychart.XYSeriesConfig:
    matcher = xychart.MatcherConfig
    return (
        xychart.XYSeriesConfig()
        .name(xychart.XychartXYSeriesConfigName().fixed(y))
        .frame(xychart.XychartXYSeriesConfigFrame().matcher(matcher().id("byIndex").options(0)))
        .x(xychart.XychartXYSeriesConfigX().matcher(matcher().id("byName").options("confidence")))
        .y(xychart.XychartXYSeriesConfigY().matcher(matcher().id("byName").options(y)))
    )
