"""Compressed time: so many simulated seconds pass in a real one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from monitoring.alert import AlertTimes
from monitoring.durations import duration, seconds

INTERVAL = "1s"  # between scrapes, and between evaluations of the rules
LEAST = 4  # intervals that a window must hold, for an increase to be told from
MOST = 3600 // LEAST  # compression under which an hour holds that many
PRODUCTION = AlertTimes()


@dataclass(frozen=True)
class Clock:
    """How real time and the time of the simulated deployment go together.

    Attributes:
        compress: simulated seconds in a real one, 1 to MOST.
    """

    compress: int

    def hours(self, count: float) -> float:
        """Real seconds of simulated hours."""
        return count * 3600 / self.compress

    def short(self, length: str, least: int = LEAST) -> str:
        """A duration of production, compressed: whole seconds, and `least` of them at least."""
        return duration(max(least, math.ceil(seconds(length) / self.compress)))

    @property
    def alert_times(self) -> AlertTimes:
        """What the alerts look at: as in production, compressed; not so short that noise alone outlasts their patience."""
        return AlertTimes(
            recent=self.short(PRODUCTION.recent),
            scored=self.short(PRODUCTION.scored),
            lately=self.short(PRODUCTION.lately),
            usual=self.short(PRODUCTION.usual),
            requests=self.short(PRODUCTION.requests, 10),
            hold=self.short(PRODUCTION.hold, 2),
            soon=self.short(PRODUCTION.soon, 10),
        )

    @property
    def windows(self) -> tuple[str, ...]:
        """Those of the recording rules, from the shortest."""
        times = self.alert_times
        return times.recent, times.scored, times.lately, times.usual
