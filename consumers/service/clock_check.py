"""Whether this machine's clock is right, by the ``Date`` of answers that come anyway."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from schemas.health import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.health import HealthReporter

MAX_CLOCK_OFFSET_SECONDS = 120.0
"""Seconds. Budget periods, expiry and the age of events go wrong by as much; Azure itself refuses
signed requests from fifteen minutes on."""
OBSERVATION_INTERVAL_SECONDS = 30.0
"""Seconds between two answers that are looked at."""


class ClockCheck:
    """Compares the clock with that of a server."""

    def __init__(
        self,
        health: HealthReporter,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._health = health
        self._now = now
        self._monotonic = monotonic
        self._looked = float("-inf")

    def observe(self, date: str | None) -> None:
        """Take the ``Date`` header of an answer that came just now; cheap, may come often."""
        if date is None or self._monotonic() - self._looked < OBSERVATION_INTERVAL_SECONDS:
            return
        self._looked = self._monotonic()
        try:
            off = self._now() - parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        if abs(off) <= MAX_CLOCK_OFFSET_SECONDS:
            self._health.resolve(Problem.CLOCK_OFF)
            return
        self._health.report(
            Problem.CLOCK_OFF,
            f"this machine's clock is {abs(off):,.0f} s {'ahead of' if off > 0 else 'behind'} the "
            "storage account's; have it set by NTP",
        )
