"""The story: by day, at dusk, with labels, healed. What is done when, and what is waited for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from candor.clip.artifact import SCOPES, load_config
from cli.prometheus import alerts, query
from cli.running_service import RunningService
from cli.simulate.deployment import FEEDBACK, HEALED, TUNED, Deployment, candor
from cli.simulate.driver import Traffic
from cli.simulate.timeline import ACTIVATED, CALIBRATED, DRIFT, LABELS, OVERCONFIDENT, SHIFT, Phase

DELAY = 8.0  # hours from an answer to its true label
SETTLED = 6.0  # hours of labels that a phase shows: the window of the figures
ENOUGH = 1000  # labels of shifted pictures to calibrate with, base and new
PATIENCE = 36.0  # hours that anything is waited for
POLL = 0.5  # seconds
SILENCE = 3.0  # seconds at the end, without which nobody could tell an alert that is over from one that still fires
DAY, DUSK, LABELLED, AFTER = "day", "dusk", "labels come", "healed"
STEPS = 10  # that `on_step` is told of, but for more labels

OnStep = Callable[[str], None]


@dataclass
class Story:
    """One telling.

    Attributes:
        deployment: what is running.
        traffic: the callers.
        on_step: told what is waited for next.
        start: unix time in seconds.
        marks: see `Timeline`.
        phases: see `Timeline`.
        calibration: what `candor calibrate` said.
        end: unix time in seconds, once it is told.
    """

    deployment: Deployment
    traffic: Traffic
    on_step: OnStep
    start: float = field(default_factory=time.time)
    marks: dict[str, float] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)
    calibration: dict[str, Any] = field(default_factory=dict)
    end: float = math.nan

    def tell(self) -> None:
        """Live through all phases; what does not happen in PATIENCE ends the story early, and its checks show it."""
        for phase, part in ((DAY, self._day), (DUSK, self._dusk), (LABELLED, self._labelled), (AFTER, self._heal)):
            began = self._now()
            done = part()
            self.phases.append(Phase(phase, began, self._now()))
            if not done:
                break
        self.end = time.time()

    def _day(self) -> bool:
        self.on_step("by day: labels come hours later")
        if not self._wait(lambda: self._has_ece(self.deployment.tag)):
            return False
        self.on_step("by day: a window of labels")
        return self._pass(SETTLED)

    def _dusk(self) -> bool:
        self._mark(SHIFT)
        self.traffic.shift()
        self.on_step("dusk falls: the drift alert")
        self._wait(lambda: self._fires(DRIFT) or self.traffic.seen.first_shifted_label is not None)
        self.on_step("dusk: the first labels of such pictures")
        if not self._wait(lambda: self.traffic.seen.first_shifted_label is not None):
            return False
        self.marks[LABELS] = (self.traffic.seen.first_shifted_label or 0.0) - self.start
        return True

    def _labelled(self) -> bool:
        self.on_step("dusk: the over-confidence alert")
        if not self._wait(lambda: self._fires(OVERCONFIDENT)):
            return False
        self.on_step("dusk: labels enough to learn from")
        if not self._wait(lambda: self.traffic.seen.shifted_labels >= ENOUGH):
            return False
        self.on_step("candor calibrate --from-feedback")
        return self._calibrate()

    def _calibrate(self) -> bool:
        """Fit to what was answered since dusk, and answer with the new version; False where there is none in PATIENCE.

        Where chance keeps a scope from being healed, more labels are waited for, as a user would.
        """
        home, deadline = self.deployment.home, self._now() + self.deployment.clock.hours(PATIENCE)
        while not self._fit(f"{int(self._now() - self.marks[SHIFT])}s"):
            if self._now() > deadline:
                return False
            self.on_step("dusk: more labels, for chance is no evidence")
            self._pass(SETTLED)
        self._mark(CALIBRATED)
        RunningService(self.deployment.service).activate(load_config(home / HEALED).tag)
        self._mark(ACTIVATED)
        return True

    def _fit(self, since: str) -> bool:
        """Whether both scopes are healed by the answers of the last time."""
        arguments = ("--from-feedback", FEEDBACK, "--since", since, "--out", HEALED, "--replace", "--json")
        self.calibration = candor(self.deployment.home, "calibrate", TUNED, *arguments)
        return all(self.calibration["feedback"][scope]["healed"] for scope in SCOPES)

    def _heal(self) -> bool:
        tag = self.deployment.healed_tag
        self.on_step("healed: labels of the new version's answers")
        if not self._wait(lambda: self._has_ece(tag)):
            return False
        self.on_step("healed: a window of labels")
        self._pass(SETTLED)
        self.on_step("healed: no alert")
        quiet = self._wait(lambda: not self._fires(DRIFT) and not self._fires(OVERCONFIDENT))
        time.sleep(SILENCE)
        return quiet

    def _now(self) -> float:
        return time.time() - self.start

    def _mark(self, name: str) -> None:
        self.marks[name] = self._now()

    def _fires(self, name: str) -> bool:
        return any(alert.name == name and alert.state == "firing" for alert in alerts(self.deployment.prometheus))

    def _has_ece(self, tag: str | None) -> bool:
        """Whether there are labels enough for the ECE of both scopes."""
        found = query(self.deployment.prometheus, f'candor:ece:ratio{self.deployment.window}{{bins="10",artifact="{tag}"}}')
        return {sample.labels["scope"] for sample in found} == set(SCOPES)

    def _wait(self, happened: Callable[[], bool]) -> bool:
        """Wait until something happens; False where it does not in PATIENCE."""
        deadline = time.monotonic() + self.deployment.clock.hours(PATIENCE)
        while not happened():
            if time.monotonic() > deadline:
                return False
            self.traffic.check()
            time.sleep(POLL)
        return True

    def _pass(self, hours: float) -> bool:
        """Let time pass."""
        end = time.monotonic() + self.deployment.clock.hours(hours)
        return self._wait(lambda: time.monotonic() >= end)
