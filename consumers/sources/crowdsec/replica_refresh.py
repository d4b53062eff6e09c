"""Refreshes the CrowdSec replica once a day and swaps it without an interruption."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from schemas.errors import FeedFailed
from schemas.health import Problem
from schemas.intel.verdicts import REPLICA

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.sources.crowdsec.replica import Replica
    from consumers.sources.crowdsec.replica_download import ReplicaDownload
    from schemas.health import HealthReporter

log = structlog.get_logger()

REFRESH_INTERVAL_SECONDS = 86_400.0
"""Interval between downloads. CrowdSec builds a new replica every day."""
STALE_REPLICA_SECONDS = 3 * REFRESH_INTERVAL_SECONDS
"""Age at which the replica is reported as stale. It stays in use."""
NEVER_FETCHED_SECONDS = 3_600.0
"""Delay after which a missing replica is reported."""
FIRST_REFRESH_PAUSE_SECONDS, MAX_REFRESH_PAUSE_SECONDS = 300.0, 3_600.0
"""Delay before a failed download is retried. It doubles with each failure."""


class ReplicaRefresh:
    """Refreshes one replica. Calls must not overlap."""

    def __init__(
        self,
        replica: Replica,
        download: ReplicaDownload,
        *,
        health: HealthReporter,
        now: Callable[[], float],
    ) -> None:
        """*now* returns wall time."""
        self._started: float | None = None
        self.problem: str | None = None
        self._replica = replica
        self._download = download
        self._health = health
        self._now = now
        self._failures = 0
        self._next = 0.0

    async def refresh_if_due(self) -> None:
        """Refresh the replica if it is due. Never raises for a failed download."""
        now = self._now()
        fetched = self._replica.fetched
        if fetched is not None and self._failures == 0:
            self._next = min(
                self._next or fetched + REFRESH_INTERVAL_SECONDS, now + REFRESH_INTERVAL_SECONDS
            )
        if self._next - now > REFRESH_INTERVAL_SECONDS:
            self._next = now  # the system clock was set back
        if (damage := self._replica.damage) is not None:
            self._health.report(Problem.REPLICA_REFUSED, f"in use: {damage}", part=REPLICA)
            self._next = min(
                self._next, (fetched or 0.0) + MAX_REFRESH_PAUSE_SECONDS
            )  # a new download may be intact
        if now >= self._next:
            with suppress(FeedFailed):  # reported; retried later
                await self.refresh()
        self._report_age()

    async def refresh(self) -> None:
        """Fetch the replica and use it. Reports and raises FeedFailed; the old one then stays."""
        try:
            fetched = await self._download.fetch()
            self._replica.swap(
                fetched.path, now=self._now(), verified=fetched.verified, dataset=fetched.dataset
            )
        except FeedFailed as error:
            self._failed(error)
            raise
        if not fetched.verified:
            log.warning("replica not verified, CrowdSec supplied no checksum")
        self._failures = 0
        self.problem = None
        self._next = self._now() + REFRESH_INTERVAL_SECONDS
        for problem in (Problem.REPLICA_REFUSED, Problem.FEED_DOWN):
            self._health.resolve(problem, part=REPLICA)
        log.info("CrowdSec replica in use", dataset=fetched.dataset)

    async def close(self) -> None:
        """Close the connections and the file."""
        await self._download.close()
        self._replica.close()

    def _failed(self, error: FeedFailed) -> None:
        self._failures += 1
        pause = min(
            FIRST_REFRESH_PAUSE_SECONDS * 2 ** min(self._failures - 1, 10),
            MAX_REFRESH_PAUSE_SECONDS,
        )
        self._next = self._now() + max(pause, error.retry_after or 0.0)
        self.problem = str(error)
        problem = Problem.REPLICA_REFUSED if error.refused else Problem.FEED_DOWN
        self._health.report(problem, str(error), part=REPLICA)

    def _report_age(self) -> None:
        if self._started is None:
            self._started = self._now()
        built = self._replica.built
        if built is not None and self._now() - built > STALE_REPLICA_SECONDS:
            detail = "built more than three days ago; still in use"
            self._health.report(Problem.REPLICA_STALE, detail, part=REPLICA)
        elif built is None and self._now() - self._started > NEVER_FETCHED_SECONDS:
            detail = "could not be fetched yet; no other source is looked up instead"
            self._health.report(Problem.REPLICA_STALE, detail, part=REPLICA)
        else:
            self._health.resolve(Problem.REPLICA_STALE, part=REPLICA)
