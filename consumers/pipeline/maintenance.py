"""Periodic work of the pipeline: dispatch, expiry, and what is written after a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.clock import EventClock
from schemas.durations import DAY_SECONDS, HOUR_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from consumers.enrichment.history import History
    from consumers.pipeline.enqueuer import Enqueuer
    from consumers.pipeline.evaluator import Evaluator
    from consumers.pipeline.lookup_stage import LookupStage
    from consumers.pipeline.outbox import Outbox
    from consumers.pipeline.recent_sign_ins import RecentSignIns
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock

EXPIRY_INTERVAL_SECONDS = 600.0
"""Seconds, by the pipeline's clock, between two expirations of pending sign-ins."""
AGGREGATES_INTERVAL_SECONDS = 60.0
"""Seconds, in a service, between two flushes of aggregates; batches wait for the flush."""


class Maintenance:
    """Runs what is due, by the pipeline's clock."""

    def __init__(
        self,
        ledger: Ledger,
        lookups: LookupStage | None,
        enqueuer: Enqueuer,
        evaluator: Evaluator,
        outbox: Outbox,
        history: History,
        recent: RecentSignIns,
        clock: Clock,
        *,
        waiting_limit: float,
    ) -> None:
        self._ledger = ledger
        self._lookups = lookups
        self._enqueuer = enqueuer
        self._evaluator = evaluator
        self._outbox = outbox
        self._history = history
        self._recent = recent
        self._clock = clock
        self._mode = clock.mode
        self._waiting_limit = waiting_limit
        self._aggregates_flushed = 0.0
        self._dispatched = 0.0
        self._expired_at: float | None = None

    async def run(self) -> None:
        """Run the work that is due; cheap if none is."""
        self._enqueuer.raise_failure()
        now = self._clock.now()
        if self._lookups is not None:
            await self._lookups.process_ready()
        soon = self._lookups is not None and self._lookups.take_opportunity()
        if soon or not 0 <= now - self._dispatched < self._mode.dispatch_interval:
            self._dispatched = now
            if self._mode.by_events:
                await self._evaluator.flush_aggregates(now - HOUR_SECONDS)
            if self._lookups is not None:
                await self._lookups.dispatch()
            await self._expire(now)
        if not self._mode.by_events and (
            self._evaluator.aggregating
            and now - self._aggregates_flushed >= AGGREGATES_INTERVAL_SECONDS
        ):
            self._aggregates_flushed = now
            await self._evaluator.flush_aggregates(None)
        await self._history.flush_if_due()
        await self._recent.flush_if_due()
        await self._outbox.flush_if_due()

    async def advance_to(self, timestamp: float) -> None:
        """Run the work that would have been due before the event clock advances.

        Once sign-ins have waited for the maximum time, none is pending, and the clock can jump.
        """
        await self.run()
        step = self._mode.dispatch_interval
        until = min(
            timestamp, self._clock.now() + self._waiting_limit + 2 * EXPIRY_INTERVAL_SECONDS
        )
        while (
            isinstance(self._clock, EventClock)
            and self._lookups is not None
            and self._lookups.constrained
            and until - self._clock.now() > step
        ):
            self._clock.advance_within(self._clock.now() + step)
            await self.run()

    async def flush(self) -> None:
        """Wait for lookups in flight, and send all findings. Pending sign-ins stay pending."""
        await self._enqueuer.flush()
        await self._evaluator.flush_aggregates(None)
        if self._lookups is not None:
            await self._lookups.process_all()
        await self._enqueuer.flush()
        await self._evaluator.flush_aggregates(None)
        await self._outbox.flush()
        await self._history.flush()
        await self._recent.finish()

    def loops(self) -> list[Callable[[], Awaitable[None]]]:
        """Return the loops of a service: findings go soon, the history is written regularly."""
        return [self._outbox.send_lingering, self._history.flush_regularly]

    async def _expire(self, now: float) -> None:
        """Expire pending sign-ins; by the event clock also purge expired verdicts."""
        if self._expired_at is None or now < self._expired_at:
            self._expired_at = now  # sign-ins from an earlier process get a dispatch first
        if now - self._expired_at < EXPIRY_INTERVAL_SECONDS:
            return
        await self._ledger.expire_pending(now - self._waiting_limit)
        if self._mode.by_events and now // DAY_SECONDS > self._expired_at // DAY_SECONDS:
            await self._ledger.purge_expired()  # a service purges in a task of its own
        self._expired_at = now
