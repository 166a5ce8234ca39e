"""What the dashboards have in common: links, the marks of alerts, and the numbers of their panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.models.dashboard import Dashboard as Board
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType

from monitoring.dashboards.panels import SOURCE, Panel
from monitoring.dashboards.queries import WHOSE
from monitoring.dashboards.variables import variables

TAG = "candor"


@dataclass(frozen=True)
class Row:
    """Panels under one headline.

    Attributes:
        title: the headline.
        panels: in order; they fill 24 columns a line.
        repeat: a variable for each of whose chosen values the row is shown once.
    """

    title: str
    panels: Sequence[Panel]
    repeat: str | None = None


def board(
    uid: str,
    title: str,
    text: str,
    rows: Sequence[Row],
    choices: Sequence[str],
    windows: Sequence[str],
    since: str = "now-24h",
) -> Board:
    """A whole dashboard.

    Args:
        uid: fixed, for addresses that stay.
        title: for people.
        text: what it answers.
        rows: from top to bottom.
        choices: its variables, as `variables` names them.
        windows: of the recording rules.
        since: how far back it looks at first, in Grafana's words.
    """
    made = dashboard.Dashboard(title).uid(uid).description(text).tags([TAG]).editable().refresh("1m").time(since, "now")
    made.timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR).version(1)
    made.variables(variables(choices, windows)).links([_others()]).annotations([_alerts()])
    numbers = count(1)
    for row in rows:
        head = dashboard.Row(row.title).id(next(numbers))
        made.with_row(head.repeat(row.repeat) if row.repeat else head)
        for panel in row.panels:
            made.with_panel(panel.id(next(numbers)))
    return made.build()


def _others() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Candor").type(DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(True)
    return link.include_vars(True).keep_time(True)


def _alerts() -> dashboard.AnnotationQuery:
    query = prometheus.Dataquery().ref_id("Alerts").expr('ALERTS{alertname=~"Candor.+", alertstate="firing"}').range()
    mark = dashboard.AnnotationQuery().name("Alerts").enable(True).icon_color("red").target(query).datasource(SOURCE)
    return mark.title_format("{{alertname}}").text_format(WHOSE)
