"""The variables of the dashboards: what a reader chooses at their top."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import VariableModel, VariableOption, VariableRefresh

from monitoring.dashboards.panels import SOURCE
from monitoring.service_alerts import PROBES

RUNBOOKS = "/public/runbooks"  # below Grafana itself, where the compose file mounts them
ALL = VariableOption(True, ["All"], ["$__all"])


def variables(names: Sequence[str], windows: Sequence[str]) -> list[Builder[VariableModel]]:
    """Variables by name, after the data source, before the address of the runbooks.

    Args:
        names: of `artifact`, `scope`, `window` and `route`.
        windows: of the recording rules.
    """
    routes = f"label_values(candor_request_seconds_count{{{PROBES}}}, route)"
    tags = "Artifacts by their tags. After a calibration or an activation the old and the new one stand side by side."
    known: dict[str, Builder[VariableModel]] = {
        "artifact": _labels_of("artifact", tags, "label_values(candor_predictions_total, artifact)"),
        "scope": _scope(),
        "window": _window(windows),
        "route": _labels_of("route", "Routes of the API.", routes),
    }
    source = dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    return [source, *(known[name] for name in names), _runbooks()]


def _labels_of(name: str, text: str, query: str) -> dashboard.QueryVariable:
    made = dashboard.QueryVariable(name).label(name).description(text).datasource(SOURCE).query(query).multi(True)
    return made.include_all(True).current(ALL).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)


def _scope() -> dashboard.CustomVariable:
    text = "base: labels that the prompt was tuned on. new: all others."
    made = dashboard.CustomVariable("scope").label("scope").description(text).values("base,new").multi(True)
    return made.include_all(True).current(ALL)


def _window(windows: Sequence[str]) -> dashboard.CustomVariable:
    text = "Every point of a graph looks back this far. Short ones see a change sooner, long ones see a smaller one."
    chosen = windows[-2:][0]
    made = dashboard.CustomVariable("window").label("window").description(text).values(",".join(windows))
    return made.current(VariableOption(True, chosen, chosen))


def _runbooks() -> dashboard.TextBoxVariable:
    text = "Where the runbooks lie: the compose file mounts docs/runbooks here; elsewhere the address of your copy."
    made = dashboard.TextBoxVariable("runbooks").label("runbooks").description(text).default_value(RUNBOOKS)
    return made.current(VariableOption(True, RUNBOOKS, RUNBOOKS))
