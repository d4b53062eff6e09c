"""Observes the running service: figures for its status page and for its log."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consumers.service.figures import ActivityTotals, Figures, RecentActivity
from consumers.service.log_lines import HourlyLine
from consumers.service.runbook import runbook_page
from consumers.service.status_page import status_page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consumers.enrichment.budget import QuotaStatus
    from consumers.service.figures import Activity
    from consumers.service.health import Health
    from consumers.service.log_lines import ServiceFacts
    from consumers.service.metrics import MetricsCollector


@dataclass(frozen=True, slots=True)
class ServiceView:
    """Everything that the status page may show."""

    facts: ServiceFacts
    ready: bool
    """Whether all loops run and the service is not draining."""
    healthy: bool
    """Whether no problem keeps sign-ins from being judged."""
    problems: Sequence[dict[str, Any]]
    """See :meth:`consumers.service.health.Health.reasons`."""
    now: float
    """Seconds since the epoch."""
    running: float
    """Seconds since the start."""
    figures: Figures
    activity: Activity | None
    quota: QuotaStatus | None


class StatusReporter:
    """Remembers figures for the status page, and writes the hourly line."""

    def __init__(
        self,
        facts: ServiceFacts,
        metrics: MetricsCollector,
        health: Health,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.facts = facts
        self._metrics = metrics
        self._health = health
        self._now = now
        self._monotonic = monotonic
        self._began = monotonic()
        self._recent = RecentActivity()
        self._hourly = HourlyLine(self._began)

    async def tick(self) -> None:
        """Remember the figures, and log them once an hour. To be called every half minute."""
        now = self._monotonic()
        figures = Figures(self._metrics.samples())
        self._recent.record(now, ActivityTotals.of(figures, self._metrics.delays()))
        codes = list(dict.fromkeys(reason["code"] for reason in self._health.reasons()))
        self._hourly.write_if_due(now, figures, self._metrics.quota, codes)

    def page(self, *, ready: bool, details: bool, refresh: bool) -> str:
        """Return the status page; see :func:`consumers.service.status_page.status_page`."""
        return status_page(self.view(ready=ready), details=details, refresh=refresh)

    def runbook(self) -> str:
        """Return the runbook as a page, to which the status page links."""
        return runbook_page()

    def view(self, *, ready: bool) -> ServiceView:
        """Return everything that the status page may show."""
        now = self._monotonic()
        figures = Figures(self._metrics.samples())
        totals = ActivityTotals.of(figures, self._metrics.delays())
        return ServiceView(
            facts=self.facts,
            ready=ready,
            healthy=self._health.healthy,
            problems=self._health.reasons(),
            now=self._now(),
            running=now - self._began,
            figures=figures,
            activity=self._recent.until(now, totals),
            quota=self._metrics.quota,
        )
