"""The simulated deployment: the real service with its artifacts, the real Prometheus with its rules, and the commands."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from candor.clip.artifact import load_config
from candor.errors import CandorError
from cli.console import errors
from cli.prometheus import running_prometheus, scrape_config
from cli.server import PACKAGE_ROOT, running_service
from cli.simulate.clock import INTERVAL, Clock
from monitoring.alerts import alerts
from monitoring.rules import rules
from monitoring.service_alerts import JOB
from monitoring.yaml_text import yaml_text

CANDOR = (sys.executable, "-c", "from cli.main import main; main()")
# Within the folder of a simulation.
ARTIFACTS, INDEX, STATE, FEEDBACK = "artifacts", "index", "state", "feedback.db"
TUNED, HEALED = f"{ARTIFACTS}/tuned", f"{ARTIFACTS}/healed"


@dataclass(frozen=True)
class Deployment:
    """What is running.

    Attributes:
        home: the folder that holds all of it.
        service: base URL.
        prometheus: base URL.
        clock: of the simulation.
    """

    home: Path
    service: str
    prometheus: str
    clock: Clock

    @property
    def tag(self) -> str:
        """Of the artifact that the service begins with."""
        return load_config(self.home / TUNED).tag

    @property
    def healed_tag(self) -> str | None:
        """Of the recalibrated one; None while there is none."""
        return load_config(self.home / HEALED).tag if (self.home / HEALED).exists() else None

    @property
    def window(self) -> str:
        """What the figures look back over."""
        return self.clock.alert_times.scored


@contextmanager
def running_deployment(home: Path, clock: Clock) -> Iterator[Deployment]:
    """Service and Prometheus on loopback while the block runs.

    Args:
        home: holds TUNED and perhaps INDEX; takes state, store, data and logs.
        clock: how short the windows are.
    """
    environment = {
        "CANDOR_ARTIFACTS": str((home / ARTIFACTS).resolve()),
        "CANDOR_STATE": str((home / STATE).resolve()),
        "CANDOR_FEEDBACK": f"sqlite:///{home.resolve() / FEEDBACK}",
    }
    files = {
        "recording.yml": yaml_text(rules(clock.windows, INTERVAL)),
        "alerts.yml": yaml_text(alerts(clock.alert_times, INTERVAL)),
    }
    index = home / INDEX
    log = home / "service.log"
    with running_service(
        home / TUNED, index if index.is_dir() else None, log, home=home / "bentoml", environment=environment
    ) as service:
        config = scrape_config({JOB: [service.removeprefix("http://")]}, INTERVAL)
        with running_prometheus(config, home / "prometheus", files) as prometheus:
            yield Deployment(home, service, prometheus, clock)


def candor(home: Path, *arguments: str) -> dict[str, Any]:
    """Run a command of `candor` as a user would, in a process of its own; its progress and its errors are seen.

    Args:
        home: the working directory.
        arguments: of the command.

    Returns:
        What it printed with --json, and nothing where it printed no JSON.

    Raises:
        CandorError: it failed, and not with an answer; it has said why.
    """
    errors.print(f"$ candor {shlex.join(arguments)}", highlight=False, soft_wrap=True)
    environment = os.environ | {"PYTHONPATH": str(PACKAGE_ROOT)}
    done = subprocess.run([*CANDOR, *arguments], cwd=home, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        printed: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        printed = {}
    if done.returncode != 0 and not printed:
        raise CandorError(f"candor {arguments[0]} ended with exit code {done.returncode}")
    return printed
