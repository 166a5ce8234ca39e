"""Grafana's dashboards, written with its own SDK and kept as the JSON that Grafana reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardLinkPlacement

from monitoring.dashboards.calibration import calibration_dashboard
from monitoring.dashboards.drift import drift_dashboard
from monitoring.dashboards.label_sets import label_sets_dashboard
from monitoring.dashboards.service import service_dashboard
from monitoring.durations import WINDOWS

FOLDER = "grafana/dashboards"


def files(windows: Sequence[str] = WINDOWS) -> dict[str, str]:
    """The dashboards as Grafana's JSON, the same text each time.

    Args:
        windows: of the recording rules.

    Returns:
        Path below `monitoring/` to text.
    """
    boards = (calibration_dashboard, drift_dashboard, service_dashboard, label_sets_dashboard)
    made = [board(windows) for board in boards]
    return {f"{FOLDER}/{each.uid}.json": _text(JSONEncoder().encode(each)) for each in made}


def _text(encoded: str) -> str:
    return json.dumps(json.loads(encoded, object_hook=_in_sight), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _in_sight(item: dict[str, Any]) -> dict[str, Any]:
    """An object without the menu that the SDK hides every link in."""
    if item.get("placement") == DashboardLinkPlacement.IN_CONTROLS_MENU:
        del item["placement"]
    return item
