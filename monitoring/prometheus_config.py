"""Prometheus's own configuration: what it scrapes, and which rules it reads."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from candor.errors import InvalidInput
from monitoring.durations import INTERVAL, duration, seconds
from monitoring.service_alerts import JOB

TARGETS = ("candor:3000",)  # the service of compose.yml
KEY_FILE = (
    "/run/secrets/metrics_key"  # where compose.yml mounts it; `promtool check config` wants it there, or --syntax-only
)

_TEMPLATE = """\
global:
  scrape_interval: {scrape}
  evaluation_interval: {interval}

rule_files:
  - rules/*.yml

alerting:
  alertmanagers:
    - static_configs:
        - targets: ["alertmanager:9093"]

scrape_configs:
  - job_name: {job}
    # A service with keys answers /metrics to a key of the role metrics only. Make one, and put it alone into the file:
    #   candor keys add prometheus --role metrics --file keys.json
{authorization}
    #
    # Name every replica, never a load balancer: its answers would come from one replica now and from another then, which
    # looks like counters that start again. Worker processes of one replica answer for each other.
    static_configs:
      - targets: [{targets}]
"""


def prometheus_config(interval: str = INTERVAL, targets: Sequence[str] = TARGETS, key_file: str | None = KEY_FILE) -> str:
    """The file prometheus.yml.

    Args:
        interval: between evaluations of rules; it scrapes twice in it.
        targets: host:port of every replica.
        key_file: with the key of the role metrics; None for a service without keys, which answers its own machine alone.

    Raises:
        InvalidInput: there is no target, or one is no host:port.
    """
    bad = [
        target for target in targets if not re.fullmatch(r"[\w.-]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}", target, re.ASCII)
    ]
    if bad or not targets:
        raise InvalidInput(f"a target is host:port, such as localhost:3000; got {bad[0][:80]!r}" if bad else "no target")
    scrape = duration(max(1, seconds(interval) // 2))
    names = ", ".join(f'"{target}"' for target in targets)
    lines = ("authorization:", f"  credentials_file: {json.dumps(key_file or KEY_FILE)}")
    authorization = "\n".join(f"    {line}" if key_file else f"    # {line}" for line in lines)
    return _TEMPLATE.format(scrape=scrape, interval=interval, job=JOB, targets=names, authorization=authorization)
