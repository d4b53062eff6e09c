"""Checks this machine's clock against the ``Date`` header of storage responses."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from schemas.health import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.health import HealthReporter

MAX_CLOCK_OFFSET_SECONDS = 120.0
"""Seconds. Budget periods, expiry and event ages are off by as much; Azure itself rejects signed
requests from fifteen minutes on."""
OBSERVATION_INTERVAL_SECONDS = 30.0
"""Minimum seconds between two checked responses."""


class ClockCheck:
    """Compares the clock with a server's clock."""

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
        self._last_check = float("-inf")

    def observe(self, date: str | None) -> None:
        """Check the ``Date`` header of a response that just arrived. Cheap; may be called often."""
        if date is None or self._monotonic() - self._last_check < OBSERVATION_INTERVAL_SECONDS:
            return
        self._last_check = self._monotonic()
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
            "storage account's; synchronise it with NTP",
        )
