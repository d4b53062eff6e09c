"""The status of a feed's sync: when it is due next, and what is reported about its health."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.health import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.errors import FeedFailed
    from schemas.health import HealthReporter

FIRST_FEED_PAUSE_SECONDS, MAX_FEED_PAUSE_SECONDS = 60.0, 900.0
"""Delay before a failed sync is retried. It doubles with each failure."""
STALE_INTERVALS = 3
"""Number of sync intervals after which a feed that could not be read is reported as stale."""


class SyncStatus:
    """Schedules the syncs of one feed and reports its problems."""

    def __init__(
        self, name: str, interval: float, health: HealthReporter, now: Callable[[], float]
    ) -> None:
        """*interval* is in seconds; *now* returns wall time."""
        self.error: str | None = None
        """The error of the last sync; None if it succeeded."""
        self.next_sync = 0.0
        """When the next sync is due, in seconds since the epoch."""
        self._name = name
        self._interval = interval
        self._health = health
        self._now = now
        self._failures = 0
        self._started: float | None = None

    def succeeded(self, next_sync: float) -> None:
        """Record that this or another instance has read the feed."""
        self._failures = 0
        self.error = None
        self.next_sync = next_sync
        for problem in (Problem.FEED_DOWN, Problem.FEED_REFUSED):
            self._health.resolve(problem, part=self._name)

    def failed(self, error: FeedFailed) -> None:
        """Report a failed sync and schedule the next attempt."""
        self._failures += 1
        doublings = min(self._failures - 1, 10)
        pause = min(FIRST_FEED_PAUSE_SECONDS * 2**doublings, MAX_FEED_PAUSE_SECONDS, self._interval)
        self.next_sync = self._now() + max(pause, error.retry_after or 0.0)
        self.error = str(error)
        problems = (Problem.FEED_DOWN, Problem.FEED_REFUSED)
        self._health.resolve(problems[not error.refused], part=self._name)
        self._health.report(problems[error.refused], str(error), part=self._name)

    def report_disbelieved(self, why: str | None) -> None:
        """Report an indicator of the feed that was not believed; None reports nothing."""
        if why is not None:
            detail = f"{why}; ask the provider to remove it"
            self._health.report(Problem.FEED_DISBELIEVED, detail, part=self._name)

    def report_gap(self, notes: Sequence[str]) -> None:
        """Report what was worked around in the server's paging, or that it is over."""
        if notes:
            self._health.report(
                Problem.FEED_GAP, f"{self._name}: {'; '.join(notes)}", part=self._name
            )
        else:
            self._health.resolve(Problem.FEED_GAP, part=self._name)

    def report_age(self, synced: float | None) -> None:
        """Report or resolve a stale feed; *synced* is the time of the last complete read.

        A feed that was never read becomes stale as well, counted from the first call.
        """
        if self._started is None:
            self._started = self._now()
        read = self._started if synced is None else synced
        if self._now() - read > STALE_INTERVALS * self._interval + MAX_FEED_PAUSE_SECONDS:
            detail = f"not read for {STALE_INTERVALS} intervals; stored indicators are still used"
            self._health.report(Problem.FEED_STALE, detail, part=self._name)
        else:
            self._health.resolve(Problem.FEED_STALE, part=self._name)
