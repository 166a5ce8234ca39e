"""promtool's unit tests, written by Python: series that grow, what is expected of them, and running it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

STEP = 15  # seconds between scrapes and evaluations
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not installed"
)

Labels = Mapping[str, str]
Phases = Sequence[tuple[int, float]]  # (steps, growth in each)


def selector(name: str, labels: Labels) -> str:
    return name + "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def counter(name: str, labels: Labels, phases: Phases) -> dict[str, str]:
    """A series that starts at 0 and grows as its phases say."""
    values, at = ["0"], 0.0
    for steps, growth in phases:
        values.append(f"{at + growth!r}{'+' if growth >= 0 else ''}{growth!r}x{steps - 1}")
        at += growth * steps
    return {"series": selector(name, labels), "values": " ".join(values)}


def gauge(name: str, labels: Labels, value: float, steps: int) -> dict[str, str]:
    return {"series": selector(name, labels), "values": f"{value!r}x{steps}"}


@dataclass
class Case:
    """One of promtool's tests, with storage of its own."""

    name: str
    series: list[dict[str, str]]
    figures: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)

    def expect_figures(self, record: str, seconds: int, samples: Iterable[tuple[Labels, float]]) -> None:
        """All series of a recording rule, to a millionth: promtool compares floats exactly."""
        expected = [{"labels": selector("", labels), "value": round(value * 1e6)} for labels, value in samples]
        self.figures.append({"expr": f"round({record} * 1e6)", "eval_time": f"{seconds}s", "exp_samples": expected})

    def expect_alerts(self, name: str, seconds: int, firing: Sequence[tuple[Labels, Labels]] = ()) -> None:
        """All series of an alert that fire: labels and annotations."""
        expected = [{"exp_labels": dict(labels), "exp_annotations": dict(notes)} for labels, notes in firing]
        self.alerts.append({"alertname": name, "eval_time": f"{seconds}s", "exp_alerts": expected})


def run(folder: Path, rule_files: Sequence[Path], cases: Iterable[Case], step: int = STEP) -> None:
    """Run the tests, groups of rules in the order of their files, and fail with what promtool says."""
    tests = [
        {
            "name": case.name,
            "interval": f"{step}s",
            "input_series": case.series,
            "promql_expr_test": case.figures,
            "alert_rule_test": case.alerts,
        }
        for case in cases
    ]
    assert tests
    order = [name for path in rule_files for name in re.findall(r"^- name: (\S+)$", path.read_text(), re.MULTILINE)]
    content = {
        "rule_files": [str(path.resolve()) for path in rule_files],
        "evaluation_interval": f"{step}s",
        "group_eval_order": order,  # otherwise chance decides what lags a step behind
        "tests": tests,
    }
    file = folder / "tests.yml"
    file.write_text(yaml.safe_dump(content, sort_keys=False, width=10_000))
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
