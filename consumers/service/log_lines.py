"""What `run` logs by itself: a line at the start, and a line with figures every hour.

No line has an IP address or an account.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from consumers.service.figures import ActivityTotals
from schemas import metrics as m
from schemas.durations import HOUR_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.enrichment.budget import QuotaStatus
    from consumers.service.figures import Figures

log = structlog.get_logger()


@dataclass(slots=True)
class ServiceFacts:
    """What a service is set up to do, for people."""

    version: str
    instance: str
    hubs: Sequence[str]
    sources: Sequence[str]
    """Names of the configured sources."""
    sink: str
    port: int = 0
    """Port of the HTTP endpoints, once known."""


def log_starting(facts: ServiceFacts) -> None:
    """Log that the service listens, before it has connected."""
    log.info("starting", version=facts.version, port=facts.port)


def log_started(facts: ServiceFacts, partitions: Mapping[str, int]) -> None:
    """Log what the service does; *partitions* is the number for each hub."""
    log.info(
        "started",
        version=facts.version,
        hubs=dict(partitions),
        sources=list(facts.sources),
        sink=facts.sink,
        port=facts.port,
    )


class HourlyLine:
    """Logs the figures of each hour."""

    def __init__(self, now: float) -> None:
        """*now* is the start of the first hour, in seconds of a monotonic clock."""
        self._began = now
        self._before = ActivityTotals()

    def write_if_due(
        self,
        now: float,
        figures: Figures,
        quota: QuotaStatus | None,
        problems: Sequence[str],
    ) -> None:
        """Log the figures if an hour has passed; *problems* are the codes of open problems."""
        if now - self._began < HOUR_SECONDS:
            return
        totals = ActivityTotals.of(figures, [])
        done = totals.since(self._before)
        self._began, self._before = now, totals
        log.info(
            "last hour",
            signins=int(done.signins),
            findings=int(done.findings),
            lookups=int(done.lookups),
            lookups_left=quota.left if quota is not None else None,
            waiting=int(figures.total(m.WAITING)),
            lag=int(figures.total(m.LAG)),
            problems=list(problems),
        )
