"""The pipeline: messages in, findings out; every sign-in is evaluated or durably pending."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.event_time import advance, leap
from consumers.pipeline.batch import BatchTracker
from consumers.pipeline.in_flight import group_by_address
from consumers.pipeline.triage import firsts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from consumers.pipeline.enqueuer import Enqueuer
    from consumers.pipeline.entra_stage import EntraStage
    from consumers.pipeline.evaluator import Evaluator
    from consumers.pipeline.in_flight import Sighting
    from consumers.pipeline.lookup_stage import LookupStage
    from consumers.pipeline.maintenance import Maintenance
    from consumers.pipeline.record_guard import RecordGuard
    from consumers.pipeline.second_opinion import OpinionStage
    from consumers.pipeline.story_stage import StoryStage
    from consumers.pipeline.tor_stage import TorStage
    from consumers.pipeline.triage import Triage, Triaged
    from schemas.events.decode import Decoder, Reject
    from schemas.ports import Clock, Message, Position


@dataclass(frozen=True, slots=True)
class SideStages:
    """Stages beside the way of a sign-in, which add findings or raise them."""

    opinions: OpinionStage
    stories: StoryStage
    entra: EntraStage
    tor: TorStage


class Pipeline:
    """Processes messages, and tracks each sign-in until it is evaluated or durably pending.

    Batches may be processed concurrently, except with the event clock.
    """

    def __init__(
        self,
        decoder: Decoder,
        guard: RecordGuard,
        triage: Triage,
        lookups: LookupStage | None,
        evaluator: Evaluator,
        enqueuer: Enqueuer,
        maintenance: Maintenance,
        side: SideStages,
        clock: Clock,
    ) -> None:
        """Without *lookups*, addresses are matched with local sources only."""
        self._opinions = side.opinions
        self._stories = side.stories
        self._entra = side.entra
        self._tor = side.tor
        self.counts = guard.counts
        self.guard = guard
        self.lookups = lookups
        self.maintenance = maintenance
        self._decoder = decoder
        self._triage = triage
        self._evaluator = evaluator
        self._enqueuer = enqueuer
        self._clock = clock

    async def recover(self, before: float | None = None) -> None:
        """Evaluate resolved pending sign-ins that a previous process or a lost instance left.

        With *before*, skip sign-ins resolved after that time: they are being processed.
        """
        await self._evaluator.recover(before)
        if before is None and self.lookups is not None:
            await self.lookups.begin()

    async def process(
        self, messages: Iterable[Message], tracker: BatchTracker | None = None
    ) -> None:
        """Process messages in order. Returns when there is capacity for more.

        The *tracker* shows when all of them are complete.
        """
        tracker = tracker or BatchTracker()
        tracker.add()
        group: dict[str, list[Sighting]] = {}
        started: float | None = None
        group_messages = self._clock.mode.group_messages
        for count, message in enumerate(messages, 1):
            decoded = await self.guard.decode(self._decoder, message)
            timestamp, started = leap(self._clock, decoded, message, started)
            if timestamp is not None:
                await self._process_group(group, tracker)
                await self.maintenance.advance_to(timestamp)
                group, started = {}, None
                advance(self._clock, decoded, message)
            if started is None:
                started = self._clock.now()
            self.counts.decoded(decoded)
            if decoded.rejects:
                await self.guard.reject(message.position, decoded.rejects)
            group_by_address(decoded.signins, message.enqueued, group)
            if group_messages and count % group_messages == 0:
                await self._process_group(group, tracker)
                group = {}
                await asyncio.sleep(0)  # let other tasks run: partitions, lookups, endpoints
        await self._process_group(group, tracker)
        await self.maintenance.run()
        await self._stories.run_if_due()
        await self._opinions.run()
        while self.lookups is not None and self.lookups.in_flight.too_many:
            await self.lookups.process_next()
        tracker.done()

    async def flush(self) -> None:
        """Wait for lookups in flight, and send all findings. Pending sign-ins stay pending."""
        await self._stories.flush()
        await self.maintenance.flush()
        await self._opinions.run(final=True)
        await self.maintenance.flush()

    def loops(self) -> list[Callable[[], Awaitable[None]]]:
        """Return the loops of a service, which run until cancelled: they act on what has come."""
        return [
            *self.maintenance.loops(),
            self._stories.follow,
            *((*self.lookups.loops(), self._opinions.follow) if self.lookups else ()),
        ]

    async def drain(self, *, spend_remaining: bool = False) -> None:
        """Finish all work: look up what is queued, retry what is pending, send all findings.

        If *spend_remaining* is true, the rest of the budget may be spent because nothing follows.
        """
        if self.lookups is not None:
            await self.lookups.finish(spend_remaining=spend_remaining)
        await self.flush()

    async def reject(self, position: Position, reject: Reject) -> None:
        """Count and quarantine a message that could not be read from its recording."""
        self.counts.messages += 1
        self.counts.records += 1
        self.counts.rejected += 1
        self.counts.unreadable += 1
        await self.guard.reject(position, [reject])

    async def _process_group(self, group: dict[str, list[Sighting]], tracker: BatchTracker) -> None:
        """Evaluate resolved addresses, look up new ones, enqueue those that must wait."""
        if self.lookups is not None:
            await self.lookups.begin_budget()
        if not group:
            return
        await self._opinions.run()
        await self._stories.observe(group, tracker)
        await self._entra.observe(group, tracker)
        await self._tor.observe(group, tracker)
        triaged = await self._triage.triage(group, tracker)
        await self._entra.match_recent()
        waiting = triaged.waiting
        if self.lookups is not None:
            waiting = waiting | await self.lookups.look_up(triaged.new, tracker)
        await self._evaluate(group, triaged, tracker)
        if self.lookups is not None:
            unmatched = triaged.verdicts.keys() - triaged.matches.keys()
            verdicts = {address: triaged.verdicts[address] for address in unmatched}
            await self.lookups.recheck(verdicts, group, tracker)
        await self._enqueuer.add(waiting, {address: [tracker] for address in waiting})
        await self.guard.flush()
        if self.lookups is not None and self._clock.mode.by_events:
            await self.lookups.process_running()  # the clock must not advance during a lookup

    async def _evaluate(
        self, group: dict[str, list[Sighting]], triaged: Triaged, tracker: BatchTracker
    ) -> None:
        """Evaluate the sign-ins whose address has a verdict, or that local sources match."""
        for address, verdict in triaged.verdicts.items():
            self.counts.cache_hits += firsts(group[address])
            await self._evaluator.evaluate_in_flight(
                address, group[address], verdict, [tracker], triaged.matches.get(address)
            )
        for address, sightings in triaged.in_feed.items():
            self.counts.cache_hits += firsts(sightings)
            match = triaged.matches[address]
            await self._evaluator.evaluate_in_flight(address, sightings, None, [tracker], match)
