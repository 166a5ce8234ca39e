"""The files of a monitoring folder: writing them, and telling which are stale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from candor.errors import InvalidInput
from candor.files import write_whole
from monitoring.alert import RUNBOOKS, AlertTimes
from monitoring.alerts import alerts
from monitoring.durations import INTERVAL, WINDOWS
from monitoring.prometheus_config import KEY_FILE, TARGETS, prometheus_config
from monitoring.rules import rules
from monitoring.yaml_text import yaml_text

ROOM = Path(__file__).parent  # where they are kept

_MADE = "Made by `candor monitoring write`; change monitoring/*.py instead. `candor monitoring check` tells stale files."
YOURS = ("compose.yml", "alertmanager/alertmanager.yml")  # receivers, paths: written once, then changed by hand
_BY_HAND = ("compose.yml", "alertmanager/*.yml", "grafana/provisioning/*/*.yml")
_DASHBOARDS = "grafana/dashboards/*.json"


@dataclass(frozen=True)
class Choices:
    """What may differ between deployments.

    Attributes:
        windows: of the recording rules, from the shortest.
        interval: between evaluations.
        targets: host:port of every replica.
        runbooks: address of the folder of runbooks, put before an alert's name.
        key_file: path of the file with Prometheus's key for /metrics; None for a service without keys.
    """

    windows: Sequence[str] = WINDOWS
    interval: str = INTERVAL
    targets: Sequence[str] = TARGETS
    runbooks: str = RUNBOOKS
    key_file: str | None = KEY_FILE


def files(choices: Choices | None = None) -> dict[str, str]:
    """All files of a monitoring folder: path in it -> text.

    Args:
        choices: those of the committed files if None.

    Raises:
        InvalidInput: a choice that Prometheus could not work with, or windows that need Grafana's SDK, which is missing.
    """
    c = choices or Choices()
    recording = rules(c.windows, c.interval)  # refuses bad windows before anything is made of them
    alerting = alerts(AlertTimes.of(c.windows, c.interval), c.interval, c.runbooks)
    made = {
        "prometheus/prometheus.yml": f"# {_MADE}\n{prometheus_config(c.interval, c.targets, c.key_file)}",
        "prometheus/rules/recording.yml": yaml_text(recording, _MADE),
        "prometheus/rules/alerts.yml": yaml_text(alerting, _MADE),
    }
    by_hand: dict[str, str] = {}
    for pattern in _BY_HAND:
        by_hand |= _kept(pattern)
    return made | by_hand | _dashboards(c.windows)


def _dashboards(windows: Sequence[str]) -> dict[str, str]:
    """Made anew where Grafana's SDK is installed (the extra "dashboards"), as they are kept where it is not.

    Raises:
        InvalidInput: the kept ones show other windows.
    """
    if find_spec("grafana_foundation_sdk") is None:
        if tuple(windows) != WINDOWS:
            raise InvalidInput(f"dashboards for the windows {','.join(windows)} need pip install 'candor[dashboards]'")
        return _kept(_DASHBOARDS)
    from monitoring.dashboards import files as made

    return made(windows)


def _kept(pattern: str) -> dict[str, str]:
    return {str(path.relative_to(ROOM)): path.read_text(encoding="utf-8") for path in sorted(ROOM.glob(pattern))}


def write(folder: Path, made: Mapping[str, str]) -> list[str]:
    """Write files, each whole; those of `YOURS` only where they are missing.

    Args:
        folder: they go below it.
        made: path in it -> text.

    Returns:
        Paths in the folder that were there and are kept, sorted.
    """
    kept = [name for name in YOURS if name in made and (folder / name).exists()]
    for name in made.keys() - set(kept):
        write_whole(folder / name, made[name])
    return sorted(kept)


def stale(folder: Path, made: Mapping[str, str]) -> list[str]:
    """Files that are missing, hold something else, or are beside the rules that are made: Prometheus would read those too.

    What `YOURS` holds may hold something else.

    Args:
        folder: to look below.
        made: path in it -> text.

    Returns:
        Paths in the folder, sorted.
    """
    found = {name for name in made if (folder / name).is_file()}
    texts = {name: (folder / name).read_text(encoding="utf-8", errors="replace") for name in found.difference(YOURS)}
    other = {name for name, text in texts.items() if text != made[name]}
    rule_files = {str(path.relative_to(folder)) for path in folder.glob("prometheus/rules/*.yml")}
    return sorted((made.keys() - found) | other | (rule_files - made.keys()))
