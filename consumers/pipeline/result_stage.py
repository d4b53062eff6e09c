"""Results of lookups: stored, and their sign-ins evaluated, or enqueued to wait."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from consumers.pipeline.evidence import Answered
from consumers.pipeline.triage import firsts
from schemas.intel.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.enrichment.lookup_queue import LookupQueue, LookupResult
    from consumers.ledger.cache import VerdictCache
    from consumers.pipeline.batch import BatchTracker
    from consumers.pipeline.enqueuer import Enqueuer
    from consumers.pipeline.evaluator import Evaluator
    from consumers.pipeline.in_flight import InFlight, Sighting
    from consumers.pipeline.rechecks import Rechecks
    from consumers.pipeline.stats import PipelineCounts
    from consumers.pipeline.verdict_publisher import VerdictPublisher
    from schemas.intel.verdicts import Answer


class ResultStage:
    """Processes the results of lookups, those of several requests together."""

    def __init__(
        self,
        lookups: LookupQueue,
        rechecks: Rechecks,
        cache: VerdictCache,
        in_flight: InFlight,
        evaluator: Evaluator,
        enqueuer: Enqueuer,
        publisher: VerdictPublisher,
        counts: PipelineCounts,
    ) -> None:
        self._lookups = lookups
        self._rechecks = rechecks
        self._cache = cache
        self._in_flight = in_flight
        self._evaluator = evaluator
        self._enqueuer = enqueuer
        self._publisher = publisher
        self._counts = counts

    async def process(self, results: Sequence[LookupResult]) -> None:
        """Store new verdicts; evaluate the sign-ins in flight and pending; enqueue the others."""
        answers = await self._store(results)
        flown = {address: self._in_flight.pop(address) for address in answers}
        self._lookups.release(answers)  # from here on, the stored verdict answers
        self._publisher.publish(answers)
        answered: list[Answered] = []
        waiting: dict[str, list[Sighting]] = {}
        rechecked: dict[str, list[Sighting]] = {}
        for address, answer in answers.items():
            sightings, trackers = flown[address]
            if isinstance(answer, Verdict):
                self._counts.verdicts[(answer.source, answer.reputation.value)] += 1
                self._counts.reputation_word(answer.intel.raw_reputation)
                self._counts.cache_hits += max(0, firsts(sightings) - 1)
                answered.append(Answered(address, sightings, answer, trackers))
                if answer.recheck_pending:
                    rechecked[address] = sightings
                    self._counts.resolved_late(address, None)
            elif sightings:
                waiting[address] = sightings
                self._counts.reasons[answer.why.value] += firsts(sightings)
        await self._evaluator.evaluate_answered(answered)
        await self._evaluator.evaluate_pending(
            {item.address: item.verdict for item in answered if not item.verdict.recheck_pending},
            just_answered=True,
        )
        all_trackers = {address: trackers for address, (_, trackers) in flown.items()}
        await self._enqueue(waiting, all_trackers)
        await self._enqueue(rechecked, all_trackers, evaluated=True)
        for tracker in chain.from_iterable(all_trackers.values()):
            tracker.done()

    async def _store(self, results: Sequence[LookupResult]) -> dict[str, Answer]:
        """Store the new answers that last; return all answers by address."""
        known = {result.request.address: result.answer for result in results if result.stored}
        new = await self._rechecks.schedule([result for result in results if not result.stored])
        await self._cache.put_unexpired(new)
        self._cache.remember(known)
        return known | new

    async def _enqueue(
        self,
        sightings: Mapping[str, Sequence[Sighting]],
        trackers: Mapping[str, Sequence[BatchTracker]],
        *,
        evaluated: bool = False,
    ) -> None:
        found = {address: of_address for address, of_address in sightings.items() if of_address}
        await self._enqueuer.add(
            found, {address: trackers[address] for address in found}, evaluated=evaluated
        )
