"""Rechecks: which verdicts that may turn worse are looked up again, and when."""

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
from schemas.intel.verdicts import Reputation, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.enrichment.lookup_queue import LookupResult
    from consumers.enrichment.scheduler import LookupScheduler
    from consumers.ledger.cache import VerdictCache
    from consumers.pipeline.batch import BatchTracker
    from consumers.pipeline.enqueuer import Enqueuer
    from consumers.pipeline.in_flight import InFlight, Sighting
    from consumers.pipeline.pending import PendingSignIns
    from schemas.intel.verdicts import Answer
    from schemas.ledger_ports import PendingAddress
    from schemas.ports import Clock

MAY_TURN_WORSE = (Reputation.UNKNOWN, Reputation.BENIGN)
"""Reputations that may turn worse."""


class Rechecks:
    """Schedules rechecks of verdicts for the sign-ins that deserve them."""

    def __init__(
        self,
        scheduler: LookupScheduler,
        pending: PendingSignIns,
        in_flight: InFlight,
        cache: VerdictCache,
        enqueuer: Enqueuer,
        clock: Clock,
        *,
        waiting_limit: float,
    ) -> None:
        self._scheduler = scheduler
        self._pending = pending
        self._in_flight = in_flight
        self._cache = cache
        self._enqueuer = enqueuer
        self._clock = clock
        self._waiting_limit = waiting_limit

    async def schedule(self, results: Sequence[LookupResult]) -> dict[str, Answer]:
        """Return the new answers of *results*, with a recheck where an address deserves it."""
        answers: dict[str, Answer] = {}
        for result in results:
            address, answer = result.request.address, result.answer
            if isinstance(answer, Verdict) and answer.reputation in MAY_TURN_WORSE:
                answer = await self._with_recheck(address, answer, result.request.pending)
            answers[address] = answer
        return answers

    async def _with_recheck(
        self, address: str, verdict: Verdict, pending: PendingAddress | None
    ) -> Verdict:
        now = self._clock.now()
        first = (pending.first_lookup if pending else None) or now
        recheck_at = next_recheck(first, now)
        enqueued_at = pending.enqueued_at if pending else now
        if recheck_at is None or recheck_at >= enqueued_at + self._waiting_limit:
            return verdict
        constrained = self._scheduler.constrained
        sightings = self._in_flight.of(address)
        if pending is None and not constrained and not _any_risky(sightings):
            return verdict  # without history, only a risk level justifies a recheck
        score = pending.score if pending else await self._pending.score(address, sightings)
        if score < (MIN_RECHECK_SCORE if constrained else MIN_RECHECK_SCORE_UNCONSTRAINED):
            return verdict
        return replace(verdict, recheck_at=recheck_at, first_lookup=first)

    async def enqueue(
        self,
        verdicts: Mapping[str, Verdict],
        group: Mapping[str, Sequence[Sighting]],
        tracker: BatchTracker,
    ) -> None:
        """Enqueue evaluated sign-ins of addresses whose recheck is pending, or due by now."""
        awaiting = [address for address in verdicts if self._awaits_recheck(verdicts[address])]
        others = {address: verdicts[address] for address in verdicts.keys() - awaiting}
        if stale := await self._stale(others, group):
            await self._cache.put_verdicts(stale)
            awaiting += stale
        await self._enqueuer.add(
            {address: group[address] for address in awaiting},
            {address: [tracker] for address in awaiting},
            evaluated=True,
        )

    def _awaits_recheck(self, verdict: Verdict) -> bool:
        return (
            verdict.recheck_pending
            and self._clock.now() < verdict.first_lookup + self._waiting_limit
        )

    async def _stale(
        self, verdicts: Mapping[str, Verdict], group: Mapping[str, Sequence[Sighting]]
    ) -> dict[str, Verdict]:
        """Return the verdicts that are too old for new sign-ins, marked for a recheck now.

        While lookups are not scarce, there are none.
        """
        if not self._scheduler.constrained or not verdicts:
            return {}
        sightings = {address: group[address] for address in verdicts}
        scores = await self._pending.learn_history(sightings)
        now = self._clock.now()
        return {
            address: replace(verdicts[address], recheck_at=now, first_lookup=0.0)
            for address, score in scores.items()
            if score >= MIN_STALE_RECHECK_SCORE
            and verdicts[address].reputation in MAY_TURN_WORSE
            and now - verdicts[address].time >= STALE_VERDICT_SECONDS
        }


def _any_risky(sightings: Sequence[Sighting]) -> bool:
    """Return True if Entra ID rates any of the sign-ins as risky."""
    return any(
        map(is_risky, {signin.risk for signin, _, _ in sightings if isinstance(signin.risk, str)})
    )
