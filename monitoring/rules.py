"""The recording rules: rolling calibration and drift of every artifact and scope, as a Prometheus rule file.

The service exports counters alone, which add up over processes, replicas and time; every score is made of them here. One
group a window: the sums come first and are read by the scores, which so cost little. Sums leave instance and process out.
"""

from __future__ import annotations

from collections.abc import Sequence

from monitoring.calibration_rules import calibration_rules
from monitoring.drift_rules import drift_rules, reference_rules
from monitoring.durations import INTERVAL, WINDOWS, check_windows, evaluated_every
from monitoring.rule import Rule


def window_rules(window: str) -> list[Rule]:
    """The rules of one window, or of `monitoring.rule.LIFETIME`. The PSI needs `reference_rules` beside them."""
    return [*calibration_rules(window), *drift_rules(window)]


def rules(windows: Sequence[str] = WINDOWS, interval: str = INTERVAL) -> dict[str, object]:
    """The rule file.

    Args:
        windows: durations that grow, such as ("1h", "6h", "1d", "7d"); simulations and tests have short ones.
        interval: between evaluations.

    Returns:
        What a rule file holds, for `monitoring.yaml_text.yaml_text`.

    Raises:
        InvalidInput: as `check_windows`.
    """
    check_windows(windows, interval)
    groups = [_group("candor-reference", interval, reference_rules())]
    groups += [_group(f"candor-{w}", evaluated_every(w, interval), window_rules(w)) for w in windows]
    return {"groups": groups}


def _group(name: str, interval: str, rules: list[Rule]) -> dict[str, object]:
    return {"name": name, "interval": interval, "rules": [rule.to_dict() for rule in rules]}
