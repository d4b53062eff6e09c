"""Lookups in the pipeline: requests for new and pending addresses go out, results come back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from consumers.enrichment.lookup_queue import LookupRequest
from consumers.pipeline.triage import firsts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from consumers.enrichment.lookup_queue import LookupQueue
    from consumers.enrichment.scheduler import LookupScheduler
    from consumers.pipeline.batch import BatchTracker
    from consumers.pipeline.in_flight import InFlight, Sighting
    from consumers.pipeline.pending import PendingSignIns
    from consumers.pipeline.rechecks import Rechecks
    from consumers.pipeline.result_stage import ResultStage
    from consumers.pipeline.stats import PipelineCounts
    from schemas.intel.verdicts import Verdict
    from schemas.ports import Clock


class LookupStage:
    """Looks up addresses as far as the budget allows, and processes the results."""

    def __init__(
        self,
        lookups: LookupQueue,
        scheduler: LookupScheduler,
        rechecks: Rechecks,
        results: ResultStage,
        in_flight: InFlight,
        pending: PendingSignIns,
        counts: PipelineCounts,
        clock: Clock,
    ) -> None:
        self.in_flight = in_flight
        self._lookups = lookups
        self._scheduler = scheduler
        self._rechecks = rechecks
        self._results = results
        self._pending = pending
        self._counts = counts
        self._clock = clock
        self._processing = asyncio.Lock()
        self._budget_begun = False

    @property
    def constrained(self) -> bool:
        """Whether lookups are scarce: addresses wait for a lookup, or soon will."""
        return self._scheduler.constrained

    async def begin(self) -> None:
        """Check whether an earlier process left pending addresses."""
        await self._scheduler.begin()

    async def begin_budget(self) -> None:
        """Start the budget's first period with the first record, looked up or not."""
        if not self._budget_begun and self._clock.now() > 0:
            self._budget_begun = True
            await self._lookups.begin()

    async def look_up(
        self, new: dict[str, list[Sighting]], tracker: BatchTracker
    ) -> dict[str, list[Sighting]]:
        """Look up new addresses now, or return them if they must wait."""
        if not new:
            return {}
        now = self._clock.now()
        first_seen = sum(not self._pending.capacity.has_pending(address, now) for address in new)
        if not await self._scheduler.admits(len(new), first_seen=first_seen):
            why = await self._scheduler.reason_to_wait()
            self._counts.reasons[why.value] += sum(map(firsts, new.values()))
            return new
        for address, sightings in new.items():
            self.in_flight.add(address, sightings, tracker)
        self._lookups.enqueue(map(LookupRequest, new))
        return {}

    async def may_look_up(self) -> bool:
        """Return True if a lookup is possible now."""
        return await self._lookups.may_look_up()

    async def look_up_extra(self, address: str, counter: str, share: float) -> bool:
        """Look up an address of which no sign-in waits; False if *share* of the quota is spent.

        *counter* names the kind of lookup that may have this share.
        """
        granted = await self._lookups.paid_lookup.budget.reserve_extra(counter, share)
        if granted:
            self._lookups.enqueue([LookupRequest(address)])
            self._lookups.flush()
        return granted

    async def recheck(
        self,
        verdicts: Mapping[str, Verdict],
        group: Mapping[str, list[Sighting]],
        tracker: BatchTracker,
    ) -> None:
        """Enqueue evaluated sign-ins whose address awaits, or deserves, a recheck."""
        if verdicts:
            await self._rechecks.enqueue(verdicts, group, tracker)

    async def dispatch(self) -> None:
        """Look up pending addresses; in a recording, and process the results."""
        if await self._scheduler.dispatch() and self._clock.mode.by_events:
            await self.process_all()

    def take_opportunity(self) -> bool:
        """Return True once when more can be looked up than at the last dispatch."""
        return self._scheduler.take_opportunity()

    # --- results ---

    async def process_results(self) -> None:
        """Process results as they come, until cancelled. Raises the error of a failed lookup."""
        while True:
            await self._lookups.wait_for_results()
            async with self._processing:
                await self._process_taken()

    def loops(self) -> list[Callable[[], Awaitable[None]]]:
        """Return the loops of a service: partial batches go in time, results are processed."""
        return [self._lookups.flush_lingering, self.process_results]

    async def process_ready(self) -> None:
        """Process the results that are there, unless others are being processed."""
        if not self._processing.locked():
            async with self._processing:
                await self._process_taken()

    async def process_next(self) -> None:
        """Wait for a result, queued lookups included, and process it."""
        async with self._processing:
            self._lookups.flush()
            if self._lookups.running:
                await self._wait_and_process()

    async def process_running(self) -> None:
        """Process the results of all requests that are running. A partial batch stays queued."""
        async with self._processing:
            while self._lookups.running:
                await self._wait_and_process()

    async def process_all(self) -> None:
        """Look up what is queued, and process all results."""
        async with self._processing:
            while not self._lookups.idle:
                self._lookups.flush()
                await self._wait_and_process()

    async def finish(self, *, spend_remaining: bool) -> None:
        """Look up what is queued, then what is pending, as far as the pace allows.

        If *spend_remaining* is true, the whole rest of the quota may be spent.
        """
        await self.process_all()
        self._scheduler.finish(spend_remaining=spend_remaining)
        before = -1
        while self._lookups.counts.lookups > before:
            before = self._lookups.counts.lookups
            if not await self._scheduler.dispatch_rest():
                break
            await self.process_all()

    async def _wait_and_process(self) -> None:
        await self._lookups.wait_for_results()
        await self._process_taken()

    async def _process_taken(self) -> None:
        if results := self._lookups.take_results():
            await self._results.process(results)
