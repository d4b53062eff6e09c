"""Schedules paid lookups: which addresses to look up now, and which must wait.

While the pace allows, new addresses are looked up immediately. Once it does not, all new addresses
wait, and each lookup goes to the pending address with the highest score until none is pending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.enrichment.lookup_queue import LookupRequest
from schemas.intel.verdicts import WhyUnanswered

if TYPE_CHECKING:
    from consumers.enrichment.lookup_queue import LookupQueue
    from schemas.ledger_ports import PendingAddress, PendingQueue
    from schemas.ports import Clock

DISPATCH_BATCH = 500
"""Maximum number of pending addresses dispatched together."""
MIN_BACKLOG_OUTSTANDING = 100
"""Outstanding addresses below which the next part of a backlog is dispatched."""


class LookupScheduler:
    """Decides when addresses are looked up, and passes pending ones to the lookup queue."""

    def __init__(self, pending: PendingQueue, lookups: LookupQueue, clock: Clock) -> None:
        self._pending = pending
        self._lookups = lookups
        self._budget = lookups.paid_lookup.budget
        self._clock = clock
        self._backlogged = False
        self._over_budget = False
        self._more_due = False
        """Whether more addresses could be looked up than the last dispatch has taken."""

    @property
    def constrained(self) -> bool:
        """Whether lookups are scarce: addresses wait for a lookup, or soon will."""
        return self._budget.is_paced and (self._backlogged or self._over_budget)

    async def begin(self) -> None:
        """Check whether an earlier process left pending addresses."""
        self._backlogged = bool(await self._pending.due(1))

    async def admits(self, new: int, *, first_seen: int) -> bool:
        """Return True if *new* addresses may be looked up immediately.

        *first_seen* of them add to the demand: no sign-in of theirs is pending yet.
        """
        self._budget.record_demand(first_seen)
        self._over_budget = not await self._budget.can_afford_demand()
        if self._budget.is_paced and not self.constrained:
            left = await self._budget.allowance() - self._lookups.outstanding
            self._backlogged = left < new and await self._lookups.may_look_up()
        return not self.constrained

    async def reason_to_wait(self) -> WhyUnanswered:
        """Return the reason why a new address waits."""
        if self._lookups.paid_lookup.breaker.is_open:
            return self._lookups.paid_lookup.paused_because
        return WhyUnanswered.NOT_YET if await self._budget.open() else WhyUnanswered.QUOTA

    def take_opportunity(self) -> bool:
        """Return True once when more can be looked up than at the last dispatch.

        The source is back, or most lookups of the last dispatch are done.
        """
        if self._lookups.paid_lookup.take_recovery():
            return True
        done = self._lookups.outstanding < MIN_BACKLOG_OUTSTANDING
        return done and self._more_due and not self._clock.mode.by_events

    async def dispatch(self) -> bool:
        """Look up the pending addresses with the highest scores, as many as the pace allows now.

        Return False if there are none.
        """
        self._more_due = False
        await self._budget.share_demand()
        if not await self._lookups.may_look_up():
            return False
        await self._budget.look()
        allowance = await self._budget.allowance() - self._lookups.outstanding
        if allowance <= 0:
            return False
        due = await self._pending.due(min(DISPATCH_BATCH, allowance))
        self._backlogged = len(due) == min(DISPATCH_BATCH, allowance)
        self._more_due = len(due) == DISPATCH_BATCH
        if self._over_budget:  # reserve a day's share for successful sign-ins
            spare = max(0, allowance - self._budget.share)
            risky = [pending for pending in due if pending.score >= 0]
            due = risky + due[len(risky) : max(len(risky), spare)]
        return self._look_up(due)

    async def dispatch_rest(self) -> bool:
        """Look up more pending addresses at the end of a run; return False if none can be."""
        if not await self._lookups.may_look_up():
            return False
        allowance = await self._budget.allowance()
        if allowance <= 0:
            return False
        return self._look_up(await self._pending.due(min(DISPATCH_BATCH, allowance)))

    def finish(self, *, spend_remaining: bool) -> None:
        """Prepare for :meth:`dispatch_rest`: probe a source that is down.

        If *spend_remaining* is true, the whole rest of the quota may be spent.
        """
        self._lookups.reopen()
        if spend_remaining:
            self._budget.spend_remaining()

    def _look_up(self, due: list[PendingAddress]) -> bool:
        self._lookups.enqueue(LookupRequest(pending.address, pending) for pending in due)
        if due:
            self._lookups.flush()
        return bool(due)
