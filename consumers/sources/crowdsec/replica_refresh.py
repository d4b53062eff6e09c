"""Keeps the CrowdSec replica fresh: fetches it once a day and swaps it in while it is in use."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from consumers.enrichment.local_sources import REPLICA
from schemas.errors import FeedFailed
from schemas.health import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from consumers.sources.crowdsec.replica import Replica
    from consumers.sources.crowdsec.replica_download import ReplicaDownload
    from schemas.health import HealthReporter

log = structlog.get_logger()

REFRESH_INTERVAL_SECONDS = 86_400.0
"""Seconds between two downloads; CrowdSec makes a new one every day."""
STALE_REPLICA_SECONDS = 3 * REFRESH_INTERVAL_SECONDS
"""Age from which it is told to be stale; it goes on being used."""
NEVER_FETCHED_SECONDS = 3_600.0
"""Seconds after which it is told that there is none yet."""
FIRST_REFRESH_PAUSE_SECONDS, MAX_REFRESH_PAUSE_SECONDS = 300.0, 3_600.0
"""Seconds before a failed download is tried again; twice as long each time."""


class ReplicaRefresh:
    """Looks after one replica. Only one call at a time."""

    def __init__(
        self,
        replica: Replica,
        download: ReplicaDownload,
        *,
        health: HealthReporter,
        now: Callable[[], float],
        on_fetched: Path,
    ) -> None:
        """*now* is wall time; *on_fetched* is the file that names the replica last published."""
        self.changed: Callable[[], Awaitable[None]] | None = None
        """Is told when another file is in use, whoever fetched it."""
        self._told = on_fetched
        self._told_of: str | None = None
        self._begun: float | None = None
        self.trouble: str | None = None
        self._replica = replica
        self._download = download
        self._health = health
        self._now = now
        self._failures = 0
        self._next = 0.0

    async def refresh_if_due(self) -> None:
        """Refresh if it is time. Never raises for what the download brings."""
        now = self._now()
        fetched = self._replica.fetched
        if fetched is not None and self._failures == 0:
            self._next = min(
                self._next or fetched + REFRESH_INTERVAL_SECONDS, now + REFRESH_INTERVAL_SECONDS
            )
        if self._next - now > REFRESH_INTERVAL_SECONDS:
            self._next = now  # the machine's clock was put back
        if (damage := self._replica.damage) is not None:
            self._health.report(Problem.REPLICA_REFUSED, f"in use: {damage}", part=REPLICA)
            self._next = min(
                self._next, (fetched or 0.0) + MAX_REFRESH_PAUSE_SECONDS
            )  # another may be whole
        if now >= self._next:
            with suppress(FeedFailed):  # told, and tried again later
                await self.refresh()
        await self._tell_changed()
        self._tell_age()

    async def refresh(self) -> None:
        """Fetch the replica and use it. FeedFailed after telling of it; the old one stays."""
        try:
            fetched = await self._download.fetch()
            self._replica.swap(
                fetched.path, now=self._now(), verified=fetched.verified, dataset=fetched.dataset
            )
        except FeedFailed as error:
            self._failed(error)
            raise
        if not fetched.verified:
            log.warning("CrowdSec told no checksum of the replica; it could not be verified")
        self._failures = 0
        self.trouble = None
        self._next = self._now() + REFRESH_INTERVAL_SECONDS
        for trouble in (Problem.REPLICA_REFUSED, Problem.FEED_DOWN):
            self._health.resolve(trouble, part=REPLICA)
        log.info("the CrowdSec replica is in use", dataset=fetched.dataset)
        await self._tell_changed()

    async def _tell_changed(self) -> None:
        """Tell of a replica that was not told of, by this process or one before it."""
        if self.changed is None or self._replica.built is None:
            return
        built = repr(self._replica.built)
        with suppress(OSError):
            self._told_of = self._told_of or self._told.read_text("ascii")
        if self._told_of == built:
            return
        await self.changed()
        self._told_of = built
        with suppress(OSError):  # then it is told again after a restart
            self._told.write_text(built, "ascii")

    async def close(self) -> None:
        """Let go of connections and file."""
        await self._download.close()
        self._replica.close()

    def _failed(self, error: FeedFailed) -> None:
        self._failures += 1
        pause = min(
            FIRST_REFRESH_PAUSE_SECONDS * 2 ** min(self._failures - 1, 10),
            MAX_REFRESH_PAUSE_SECONDS,
        )
        self._next = self._now() + max(pause, error.retry_after or 0.0)
        self.trouble = str(error)
        trouble = Problem.REPLICA_REFUSED if error.refused else Problem.FEED_DOWN
        self._health.report(trouble, str(error), part=REPLICA)

    def _tell_age(self) -> None:
        if self._begun is None:
            self._begun = self._now()
        built = self._replica.built
        if built is not None and self._now() - built > STALE_REPLICA_SECONDS:
            text = "it was made more than three days ago; it is still used"
            self._health.report(Problem.REPLICA_STALE, text, part=REPLICA)
        elif built is None and self._now() - self._begun > NEVER_FETCHED_SECONDS:
            text = "it could not be fetched yet; nobody is asked in its place"
            self._health.report(Problem.REPLICA_STALE, text, part=REPLICA)
        else:
            self._health.resolve(Problem.REPLICA_STALE, part=REPLICA)
