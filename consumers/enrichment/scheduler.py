"""Schedules paid lookups: which pending addresses to look up now, and which to check again later.

While the pace allows, new addresses are looked up immediately. Once it does not, all new addresses
wait, and each lookup goes to the pending address with the highest score until none is pending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from consumers.enrichment.ranking import (
    MIN_RECHECK_SCORE,
    MIN_RECHECK_SCORE_UNCONSTRAINED,
    MIN_STALE_RECHECK_SCORE,
    STALE_VERDICT_SECONDS,
)
from consumers.ledger.rechecks import next_recheck
from schemas.events.sign_in import is_risky
from schemas.intel.verdicts import Reputation, Verdict, WhyUnanswered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.enrichment.lookup_queue import LookupQueue
    from consumers.pipeline.in_flight import InFlight, Sighting
    from consumers.pipeline.pending import PendingSignIns
    from schemas.intel.verdicts import Answer
    from schemas.ledger_ports import Ledger, PendingAddress
    from schemas.ports import Clock

DISPATCH_BATCH = 500
"""Maximum number of pending addresses dispatched together."""
MAX_DISPATCHED = 10_000
"""Maximum number of dispatched addresses whose pending entry is kept in memory."""
MAY_TURN_WORSE = (Reputation.UNKNOWN, Reputation.BENIGN)
"""Reputations that may turn worse."""


class LookupScheduler:
    """Decides when addresses are looked up."""

    def __init__(
        self,
        ledger: Ledger,
        lookups: LookupQueue,
        pending: PendingSignIns,
        in_flight: InFlight,
        clock: Clock,
        *,
        waiting_limit: float,
    ) -> None:
        self._ledger = ledger
        self._lookups = lookups
        self._budget = lookups.paid_lookup.budget
        self._pending = pending
        self._in_flight = in_flight
        self._clock = clock
        self._waiting_limit = waiting_limit
        self._dispatched: dict[str, PendingAddress] = {}
        self._backlogged = False
        self._over_budget = False
        self.more_due = False
        """Whether more addresses can be looked up than the last dispatch has taken."""

    @property
    def constrained(self) -> bool:
        """Whether lookups are scarce: addresses wait for a lookup, or soon will."""
        return self._budget.is_paced and (self._backlogged or self._over_budget)

    async def begin(self) -> None:
        """Check whether an earlier process left pending addresses."""
        self._backlogged = bool(await self._ledger.due(1))

    async def dispatch_now(self, addresses: Sequence[str]) -> bool:
        """Return True if new addresses may be looked up immediately."""
        now = self._clock.now()
        self._budget.record_demand(
            sum(not self._pending.capacity.has_pending(address, now) for address in addresses)
        )
        self._over_budget = not await self._budget.can_afford_demand()
        if self._budget.is_paced and not self.constrained:
            left = await self._budget.allowance() - self._lookups.pending
            self._backlogged = left < len(addresses) and await self._lookups.may_look_up()
        return not self.constrained

    async def reason_to_wait(self) -> WhyUnanswered:
        """Return the reason why a new address waits."""
        if self._lookups.paid_lookup.breaker.is_open:
            return self._lookups.paid_lookup.paused_because
        return WhyUnanswered.NOT_YET if await self._budget.open() else WhyUnanswered.QUOTA

    async def dispatch(self) -> None:
        """Look up the pending addresses with the highest scores, as many as the pace allows now."""
        self.more_due = False
        await self._budget.share_demand()
        if not await self._lookups.may_look_up():
            return
        await self._budget.look()
        allowance = await self._budget.allowance() - self._lookups.pending
        if allowance <= 0:
            return
        due = await self._ledger.due(min(DISPATCH_BATCH, allowance))
        self._backlogged = len(due) == min(DISPATCH_BATCH, allowance)
        self.more_due = len(due) == DISPATCH_BATCH
        if self._over_budget:  # reserve a day's share for successful sign-ins
            spare = max(0, allowance - self._budget.share)
            risky = [pending for pending in due if pending.score >= 0]
            due = risky + due[len(risky) : max(len(risky), spare)]
        await self._look_up(due)

    async def _look_up(self, due: list[PendingAddress]) -> None:
        if len(self._dispatched) > MAX_DISPATCHED:  # another instance's results leave entries
            self._dispatched.clear()
        self._dispatched.update((pending.address, pending) for pending in due)
        self._lookups.enqueue([pending.address for pending in due])
        if due:
            self._lookups.flush()
            if self._clock.mode.by_events:
                await self._lookups.wait_until_idle()

    async def finish(self, *, spend_remaining: bool) -> None:
        """Look up what is queued, then what is pending, as far as the pace allows.

        If *spend_remaining* is true, the whole rest of the quota may be spent.
        """
        await self._lookups.wait_until_idle()
        self._lookups.reopen()
        if spend_remaining:
            self._budget.spend_remaining()
        while await self._lookups.may_look_up():
            before = self._lookups.counts.lookups
            limit = min(DISPATCH_BATCH, await self._budget.allowance())
            if limit <= 0:
                break
            await self._look_up(await self._ledger.due(limit))
            await self._lookups.wait_until_idle()
            if self._lookups.counts.lookups == before:
                break

    async def revise(self, answers: Mapping[str, Answer]) -> dict[str, Answer]:
        """Return the results, with a recheck scheduled where an address deserves it."""
        revised = dict(answers)
        for address, answer in answers.items():
            due = self._dispatched.pop(address, None)
            if isinstance(answer, Verdict) and answer.reputation in MAY_TURN_WORSE:
                revised[address] = await self._schedule_recheck(address, answer, due)
        return revised

    async def _schedule_recheck(
        self, address: str, verdict: Verdict, due: PendingAddress | None
    ) -> Verdict:
        now = self._clock.now()
        first = (due.first_lookup if due else None) or now
        recheck_at = next_recheck(first, now)
        if (
            recheck_at is None
            or recheck_at >= (due.enqueued_at if due else now) + self._waiting_limit
        ):
            return verdict
        sightings = self._in_flight.of(address)
        if due is None and not self.constrained and not _any_risky(sightings):
            return verdict  # without history, only a risk level justifies a recheck
        score = due.score if due else await self._pending.score(address, sightings)
        if score < (MIN_RECHECK_SCORE if self.constrained else MIN_RECHECK_SCORE_UNCONSTRAINED):
            return verdict
        return replace(verdict, recheck_at=recheck_at, first_lookup=first)

    def worth_enqueueing(self, verdict: Verdict) -> bool:
        """Return True if new sign-ins of a resolved address should wait for its recheck."""
        return (
            verdict.recheck_pending
            and self._clock.now() < verdict.first_lookup + self._waiting_limit
        )

    def recheck_due(self, verdict: Verdict, score: float) -> Verdict | None:
        """Return the verdict marked for recheck now, if it is too old for a sign-in's score."""
        now = self._clock.now()
        if (
            score < MIN_STALE_RECHECK_SCORE
            or verdict.reputation not in MAY_TURN_WORSE
            or now - verdict.time < STALE_VERDICT_SECONDS
        ):
            return None
        return replace(verdict, recheck_at=now, first_lookup=0.0)


def _any_risky(sightings: Sequence[Sighting]) -> bool:
    """Return True if Entra ID rates any of the sign-ins as risky."""
    return any(
        map(is_risky, {signin.risk for signin, _, _ in sightings if isinstance(signin.risk, str)})
    )
