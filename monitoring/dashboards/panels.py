"""The kinds of panel that the dashboards are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase

from grafana_foundation_sdk.builders import (
    barchart,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    table,
    timeseries,
    xychart,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import heatmap as heat_looks
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

from monitoring.dashboards.queries import Query

SOURCE = looks.DataSourceRef("prometheus", "${datasource}")
SHARE = "percentunit"
PLAIN = "short"
GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"

Target = Builder[Dataquery]  # not its subclass: a list of those is no list of these
Steps = Sequence[tuple[float, str]]
Panel = barchart.Panel | heatmap.Panel | stat.Panel | table.Panel | timeseries.Panel | xychart.Panel


def targets(
    queries: Sequence[Query], instant: bool = False, form: PromQueryFormat = PromQueryFormat.TIME_SERIES
) -> list[Target]:
    """The queries of a panel, called A, B, C...

    Args:
        queries: at most 26.
        instant: whether only the end of the dashboard's time is asked about.
        form: in which the panel wants the answer.
    """
    made: list[Target] = []
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).expr(query.expr).legend_format(query.name).format(form)
        target.editor_mode(QueryEditorMode.CODE)
        made.append(target.instant() if instant else target.range())
    return made


def lines(
    title: str,
    reads: str,
    unit: str,
    *queries: Query,
    span: int = 12,
    least: float | None = None,
    most: float | None = None,
    steps: Steps = (),
    stacked: bool = False,
) -> timeseries.Panel:
    """Lines over time; what is a bound is dashed.

    Args:
        title: of the panel.
        reads: how to read it.
        unit: Grafana's name of it.
        queries: of its lines.
        span: columns of the 24 of a dashboard.
        least: where the axis begins.
        most: where it ends.
        steps: thresholds that are drawn: from which value on, and in which colour.
        stacked: whether the lines are parts of one whole.
    """
    panel = timeseries.Panel().title(title).description(reads).datasource(SOURCE).unit(unit).span(span).height(8)
    panel.targets(targets(queries)).line_width(2).fill_opacity(30 if stacked else 0).show_points(looks.VisibilityMode.NEVER)
    panel.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
    panel.legend(_legend(looks.LegendDisplayMode.TABLE, ["lastNotNull"]))
    if least is not None:
        panel.min(least)
    if most is not None:
        panel.max(most)
    if stacked:
        panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL))
    if steps:
        panel.thresholds(_thresholds(steps, below="transparent"))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED))
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        if query.bound:
            panel.override_by_query(letter, [*DASHED])
    return panel


def numbers(
    title: str, reads: str, unit: str, *queries: Query, span: int = 4, steps: Steps = (), below: str = GREEN
) -> stat.Panel:
    """Large numbers, as they are now.

    Args:
        title: of the panel.
        reads: how to read it.
        unit: Grafana's name of it.
        queries: one or more numbers.
        span: columns of the 24 of a dashboard.
        steps: from which value on a number has which colour.
        below: the colour below the first step.
    """
    panel = stat.Panel().title(title).description(reads).datasource(SOURCE).unit(unit).span(span).height(4)
    panel.targets(targets(queries, instant=True)).thresholds(_thresholds(steps, below))
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.graph_mode(looks.BigValueGraphMode.NONE).text_mode(looks.BigValueTextMode.VALUE_AND_NAME)


def rows_of_numbers(
    title: str, reads: str, *queries: Query, units: Mapping[str, str], sort: str, span: int = 24, height: int = 8
) -> table.Panel:
    """A table with a column for each query and for each label that they share.

    Args:
        title: of the panel.
        reads: how to read it.
        queries: of its columns; at least two.
        units: Grafana's names of them, by the name of the query; the others are shares.
        sort: column by which the rows are sorted.
        span: columns of the 24 of a dashboard.
        height: in rows of the grid.
    """
    panel = (
        table.Panel().title(title).description(reads).datasource(SOURCE).unit(SHARE).decimals(1).span(span).height(height)
    )
    panel.targets(targets(queries, instant=True, form=PromQueryFormat.TABLE))
    for name, unit in units.items():
        panel.override_by_name(name, [DynamicConfigValue("unit", unit), DynamicConfigValue("decimals", 0)])
    return panel.transformations(joined(queries, sort))


def bars(title: str, reads: str, unit: str, *queries: Query, label: str, span: int = 12, height: int = 9) -> barchart.Panel:
    """Groups of bars: for each value of a label a bar for each query.

    Args:
        title: of the panel.
        reads: how to read it.
        unit: Grafana's name of it.
        queries: of its bars; at least two, each by `label` alone.
        label: along the axis.
        span: columns of the 24 of a dashboard.
        height: in rows of the grid.
    """
    panel = barchart.Panel().title(title).description(reads).datasource(SOURCE).unit(unit).min(0).span(span).height(height)
    panel.targets(targets(queries, instant=True, form=PromQueryFormat.TABLE)).x_field(label).x_tick_label_rotation(-45)
    panel.legend(_legend(looks.LegendDisplayMode.LIST, []))
    panel.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.NONE))
    return panel.show_value(looks.VisibilityMode.NEVER).group_width(0.8).transformations(joined(queries, label))


def heat(title: str, reads: str, unit: str, histogram: str, matchers: str = "", span: int = 12) -> heatmap.Panel:
    """The buckets of a histogram over time: the darker, the more was there.

    Args:
        title: of the panel.
        reads: how to read it.
        unit: Grafana's name of what the histogram was told.
        histogram: name, without `_bucket`.
        matchers: of its labels, as they stand in braces.
        span: columns of the 24 of a dashboard.
    """
    labels = f"{{{matchers}}}" if matchers else ""
    query = Query(f"sum by (le) (increase({histogram}_bucket{labels}[$__rate_interval]))", "{{le}}")
    panel = heatmap.Panel().title(title).description(reads).datasource(SOURCE).span(span).height(8)
    panel.targets(targets([query], form=PromQueryFormat.HEATMAP)).calculate(False).y_axis(heatmap.YAxisConfig().unit(unit))
    colours = (
        heatmap.HeatmapColorOptions().mode(heat_looks.HeatmapColorMode.SCHEME).scheme("Blues").steps(64).reverse(False)
    )
    return panel.color(colours).hide_legend()


def joined(queries: Sequence[Query], sort: str) -> list[DataTransformerConfig]:
    """What makes one table of the answers to several queries: a row for each set of labels.

    Args:
        queries: that are asked, in table form.
        sort: column by which the rows are sorted.
    """
    names = {f"Value #{letter}": query.name for letter, query in zip(ascii_uppercase, queries, strict=False)}
    return [
        DataTransformerConfig("merge", options={}),
        DataTransformerConfig("organize", options={"excludeByName": {"Time": True}, "renameByName": names}),
        DataTransformerConfig("sortBy", options={"sort": [{"field": sort}]}),
    ]


def runbook(alert: str) -> dashboard.DashboardLink:
    """A panel's link to what to do about an alert.

    Args:
        alert: its name.
    """
    link = dashboard.DashboardLink(f"Runbook: {alert}").type(DashboardLinkType.LINK)
    return link.url(f"${{runbooks}}/{alert}.md").target_blank(True)


DASHED = (
    DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [6, 6]}),
    DynamicConfigValue("custom.lineWidth", 1),
)


def _legend(mode: looks.LegendDisplayMode, calcs: list[str]) -> common.VizLegendOptions:
    return (
        common.VizLegendOptions().show_legend(True).display_mode(mode).placement(looks.LegendPlacement.BOTTOM).calcs(calcs)
    )


def _thresholds(steps: Steps, below: str) -> dashboard.ThresholdsConfig:
    drawn = [Threshold(None, below), *(Threshold(value, colour) for value, colour in steps)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(drawn)
