"""Guards against quarantining a whole stream: mostly unreadable messages mean a wrong setup."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from schemas.health import HealthReporter, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.pipeline.stats import PipelineCounts

WINDOW_MESSAGES = 1_000
"""Messages over which the unreadable share is measured."""
TRICKLE_SECONDS = 60.0
"""Seconds between batches while most messages are unreadable."""


class UnreadableGuard:
    """Allows only one batch per minute while most messages are unreadable.

    Unreadable messages go to quarantine as usual. The stream recovers by itself once messages can
    be read again. But a wrong setting or a new format cannot empty a hub into the quarantine.
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
        self._window_start = (0, 0)
        self._tripped = False
        self._allowed_at = 0.0

    async def wait_until_allowed(self) -> None:
        """Wait until another batch may be processed."""
        allowed = self.allows()
        while not allowed:
            await asyncio.sleep(1.0)
            allowed = self.allows()

    def allows(self) -> bool:
        """Return True if another batch may be processed now."""
        messages = self._counts.messages - self._window_start[0]
        unreadable = self._counts.unreadable - self._window_start[1]
        if messages >= WINDOW_MESSAGES or (self._tripped and messages):
            self._window_start = (self._counts.messages, self._counts.unreadable)
            self._set_tripped(tripped=unreadable >= messages * self._share)
        if not self._tripped:
            return True
        now = self._monotonic()
        if now - self._allowed_at < TRICKLE_SECONDS:
            return False
        self._allowed_at = now
        return True

    def _set_tripped(self, *, tripped: bool) -> None:
        self._tripped = tripped
        if tripped:
            self._health.report(
                Problem.STREAM_UNREADABLE,
                "most messages are unreadable. See 'signinwatch quarantine list', and check what "
                "sends to this hub. One batch per minute is read until messages are readable again",
            )
        else:
            self._health.resolve(Problem.STREAM_UNREADABLE)
