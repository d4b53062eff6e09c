"""Whose turn it is: which waiting addresses are asked about now, and which once more later.

While the pace allows, new addresses are asked about as they come. As soon as it does not, all new
ones wait, and each lookup goes to the best that waits, until nothing is left that waits.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec.structs import replace

from consumers.enrichment.ranking import (
    MIN_RECHECK_SCORE,
    MIN_RECHECK_SCORE_UNCONSTRAINED,
    MIN_STALE_RECHECK_SCORE,
    STALE_VERDICT_SECONDS,
    next_recheck,
)
from schemas.durations import HOUR_SECONDS
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
"""Waiting addresses that are offered at once."""
MAX_DISPATCHED = 10_000
"""Addresses under way of which we remember why they were asked about."""
MAY_TURN_WORSE = (Reputation.UNKNOWN, Reputation.BENIGN)
"""Answers that may turn worse."""


class DemandEstimate:
    """How many addresses were new in the last day, as far as this process knows."""

    def __init__(self) -> None:
        self._hours: deque[list[float]] = deque()

    def record(self, now: float, addresses: int) -> None:
        """Note new addresses."""
        if not self._hours or now - self._hours[-1][0] >= HOUR_SECONDS:
            self._hours.append([now, 0])
        self._hours[-1][1] += addresses

    def per_day(self, now: float) -> float:
        """Return how many were new in the last 24 hours."""
        while self._hours and now - self._hours[0][0] > 24 * HOUR_SECONDS:
            self._hours.popleft()
        return sum(count for _, count in self._hours)


class LookupScheduler:
    """Decides when addresses are asked about."""

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
        self._held = in_flight
        self._clock = clock
        self._waiting_limit = waiting_limit
        self._offered: dict[str, PendingAddress] = {}
        self._demand = DemandEstimate()
        self._crowded = False
        self._dear = False

    @property
    def constrained(self) -> bool:
        """Whether not all can be asked about: others wait for their turn, or soon will."""
        return self._budget.is_paced and (self._crowded or self._dear)

    async def begin(self) -> None:
        """Learn whether an earlier process left addresses that wait."""
        self._crowded = bool(await self._ledger.due(1))

    async def dispatch_now(self, addresses: Sequence[str]) -> bool:
        """Tell whether new addresses may be asked about as they come."""
        now = self._clock.now()
        self._demand.record(
            now, sum(not self._pending.capacity.is_full(one, now) for one in addresses)
        )
        self._dear = not await self._budget.can_afford(self._demand.per_day(now))
        if self._budget.is_paced and not self.constrained:
            left = await self._budget.allowance() - self._lookups.pending
            self._crowded = left < len(addresses) and await self._lookups.may_look_up()
        return not self.constrained

    async def reason_to_wait(self) -> WhyUnanswered:
        """Return why a new address waits."""
        if self._lookups.paid_lookup.breaker.is_open:
            return self._lookups.paid_lookup.paused_because
        return WhyUnanswered.NOT_YET if await self._budget.open() else WhyUnanswered.QUOTA

    async def dispatch(self) -> None:
        """Ask about the best that waits, as many as the pace allows now."""
        if not await self._lookups.may_look_up():
            return
        await self._budget.look()
        allowance = await self._budget.allowance() - self._lookups.pending
        if allowance <= 0:
            return
        due = await self._ledger.due(min(DISPATCH_BATCH, allowance))
        self._crowded = len(due) == min(DISPATCH_BATCH, allowance)
        if self._dear:  # a day's share is kept for where somebody gets in
            spare = max(0, allowance - self._budget.share)
            worthy = [one for one in due if one.score >= 0]
            due = worthy + due[len(worthy) : max(len(worthy), spare)]
        await self._ask(due)

    async def _ask(self, due: list[PendingAddress]) -> None:
        if len(self._offered) > MAX_DISPATCHED:  # what another instance answered stays in there
            self._offered.clear()
        self._offered.update((one.address, one) for one in due)
        self._lookups.enqueue([one.address for one in due])
        if due:
            self._lookups.flush()
            if self._clock.kind == "event":
                await self._lookups.wait_until_idle()

    async def finish(self, *, hurry: bool) -> None:
        """Ask all that is wanted, then what waits, as far as the pace allows; with *hurry* all."""
        await self._lookups.wait_until_idle()
        self._lookups.reopen()
        if hurry:
            self._budget.spend_remaining()
        while await self._lookups.may_look_up():
            before = self._lookups.counts.lookups
            most = min(DISPATCH_BATCH, await self._budget.allowance())
            if most <= 0:
                break
            await self._ask(await self._ledger.due(most))
            await self._lookups.wait_until_idle()
            if self._lookups.counts.lookups == before:
                break

    async def revise(self, answers: Mapping[str, Answer]) -> dict[str, Answer]:
        """Return answers, left open where an address deserves another question later."""
        revised = dict(answers)
        for address, answer in answers.items():
            due = self._offered.pop(address, None)
            if isinstance(answer, Verdict) and answer.reputation in MAY_TURN_WORSE:
                revised[address] = await self._left_open(address, answer, due)
        return revised

    async def _left_open(
        self, address: str, verdict: Verdict, due: PendingAddress | None
    ) -> Verdict:
        now = self._clock.now()
        first = (due.first_asked if due else None) or now
        again = next_recheck(first, now)
        if again is None or again >= (due.enqueued_at if due else now) + self._waiting_limit:
            return verdict
        held = self._held.of(address)
        if due is None and not self.constrained and not _any_risky(held):
            return verdict  # nothing else makes it odd enough while nothing is learned
        score = due.score if due else await self._pending.score(address, held)
        if score < (MIN_RECHECK_SCORE if self.constrained else MIN_RECHECK_SCORE_UNCONSTRAINED):
            return verdict
        return replace(verdict, recheck_at=again, first_asked=first)

    def worth_enqueueing(self, verdict: Verdict) -> bool:
        """Tell whether new sign-ins of an answered address are to wait for another answer."""
        return (
            verdict.recheck_pending
            and self._clock.now() < verdict.first_asked + self._waiting_limit
        )

    def recheck_due(self, verdict: Verdict, score: float) -> Verdict | None:
        """Return a verdict that is open from now on, if a sign-in says too much for an old one."""
        now = self._clock.now()
        if (
            score < MIN_STALE_RECHECK_SCORE
            or verdict.reputation not in MAY_TURN_WORSE
            or now - verdict.time < STALE_VERDICT_SECONDS
        ):
            return None
        return replace(verdict, recheck_at=now, first_asked=0.0)


def _any_risky(held: Sequence[Sighting]) -> bool:
    """Tell whether Entra ID itself finds one of the sign-ins risky."""
    return any(map(is_risky, {one.risk for one, _, _ in held if isinstance(one.risk, str)}))
