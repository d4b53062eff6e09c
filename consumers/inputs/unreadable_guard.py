"""Against diverting a whole stream: when hardly anything can be read, something else is wrong."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from schemas.health import HealthReporter, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.pipeline.stats import PipelineCounts

WINDOW_MESSAGES = 1_000
"""Messages that are looked at together."""
TRICKLE_SECONDS = 60.0
"""Seconds between two batches that are let through while hardly anything can be read."""


class UnreadableGuard:
    """Lets only a batch a minute through while most messages are unreadable.

    They go to quarantine as ever, and the stream goes on by itself when it can be read again; but
    a wrong setting or a new format does not empty a hub into the quarantine within minutes.
    """

    def __init__(
        self,
        counts: PipelineCounts,
        health: HealthReporter,
        *,
        share: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._health = health
        self._share = share
        self._monotonic = monotonic
        self._mark = (0, 0)
        self._tripped = False
        self._let_through = 0.0

    async def wait_until_allowed(self) -> None:
        """Wait until another batch may be taken."""
        admitted = self.allows()
        while not admitted:
            await asyncio.sleep(1.0)
            admitted = self.allows()

    def allows(self) -> bool:
        """Tell whether another batch may be taken now."""
        messages = self._counts.messages - self._mark[0]
        unreadable = self._counts.unreadable - self._mark[1]
        if messages >= WINDOW_MESSAGES or (self._tripped and messages):
            self._mark = (self._counts.messages, self._counts.unreadable)
            self._turn(tripped=unreadable >= messages * self._share)
        if not self._tripped:
            return True
        now = self._monotonic()
        if now - self._let_through < TRICKLE_SECONDS:
            return False
        self._let_through = now
        return True

    def _turn(self, *, tripped: bool) -> None:
        self._tripped = tripped
        if tripped:
            self._health.report(
                Problem.STREAM_UNREADABLE,
                "most messages cannot be read; see 'signinwatch quarantine list' and what sends "
                "to this hub. One batch a minute is taken until they can be read again",
            )
        else:
            self._health.resolve(Problem.STREAM_UNREADABLE)
