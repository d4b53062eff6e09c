"""The pipeline: messages in, findings out; every sign-in is evaluated or durably pending."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING

from consumers.clock import EventClock
from consumers.event_time import advance, leap
from consumers.pipeline.batch import BatchTracker
from consumers.pipeline.enqueuer import Enqueuer
from consumers.pipeline.evaluator import Evaluator
from consumers.pipeline.in_flight import InFlight, group_by_address
from consumers.pipeline.retro_match import RetroMatch
from consumers.pipeline.triage import Triage, firsts
from schemas.durations import DAY_SECONDS
from schemas.intel.verdicts import Answer, Unanswered, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from consumers.enrichment.history import History
    from consumers.enrichment.local_sources import LocalSources
    from consumers.enrichment.lookup_queue import LookupQueue
    from consumers.enrichment.scheduler import LookupScheduler
    from consumers.ledger.cache import VerdictCache
    from consumers.pipeline.in_flight import Sighting
    from consumers.pipeline.judge import Judge
    from consumers.pipeline.outbox import Outbox
    from consumers.pipeline.pending import PendingSignIns
    from consumers.pipeline.recent_sign_ins import RecentSignIns
    from consumers.pipeline.record_guard import RecordGuard
    from consumers.pipeline.retro_match import VerdictListener
    from schemas.events.addresses import Networks
    from schemas.events.decode import Decoder, Reject
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock, Message, Position

MIN_BACKLOG_IN_FLIGHT = 100
"""Addresses in flight below which the next part of a backlog is dispatched."""
EXPIRY_INTERVAL_SECONDS = 600.0
"""Seconds, by the pipeline's clock, between two expirations of pending sign-ins."""
AGGREGATES_INTERVAL_SECONDS = 60.0
"""Seconds, in a service, between two flushes of aggregates; batches wait for the flush."""
RECOVERY_BATCH = 500
"""Resolved addresses that are evaluated together after a start."""


class Pipeline:
    """Processes messages, and tracks each sign-in until it is evaluated or durably pending.

    Batches may be processed concurrently, except with the event clock.
    """

    def __init__(
        self,
        *,
        decoder: Decoder,
        cache: VerdictCache,
        ledger: Ledger,
        lookups: LookupQueue | None,
        scheduler: LookupScheduler | None,
        pending: PendingSignIns,
        history: History,
        local_sources: LocalSources,
        judge: Judge,
        outbox: Outbox,
        guard: RecordGuard,
        clock: Clock,
        own_networks: Networks,
        waiting_limit: float,
        recent: RecentSignIns,
        in_flight: InFlight | None = None,
        on_verdict: VerdictListener = lambda *_: None,
    ) -> None:
        """*on_verdict* receives every new answer."""
        self.counts = guard.counts
        self.in_flight = InFlight() if in_flight is None else in_flight
        self._decoder = decoder
        self._cache = cache
        self._ledger = ledger
        self._lookups = lookups
        self._scheduler = scheduler
        self._pending = pending
        self._history = history
        self._local_sources = local_sources
        self._evaluator = Evaluator(judge, history, outbox, ledger, clock, local_sources, guard)
        self._triage = Triage(
            self.counts, self.in_flight, self._evaluator, local_sources, lookups, own_networks
        )
        self._enqueuer = Enqueuer(
            pending,
            ledger,
            self._evaluator,
            cache,
            local_sources,
            self.counts,
            linger=clock.mode.enqueue_linger,
        )
        self._outbox = outbox
        self.guard = guard
        self._clock = clock
        self._waiting_limit = waiting_limit
        self._recent = recent
        self._on_verdict = on_verdict
        self.retro_match = RetroMatch(
            local_sources=local_sources,
            evaluator=self._evaluator,
            recent=recent,
            ledger=ledger,
            pending=pending,
            outbox=outbox,
            counts=self.counts,
            clock=clock,
            on_verdict=on_verdict,
        )
        self._mode = clock.mode
        self._aggregates_flushed = 0.0
        self._dispatched = 0.0
        self._expired_at: float | None = None
        self._budget_begun = False

    # --- public interface ---

    async def recover(self, before: float | None = None) -> None:
        """Evaluate resolved pending sign-ins that a previous process or a lost instance left.

        With *before*, skip sign-ins resolved after that time: they are being processed.
        """
        answered = await self._ledger.answered_waiting()
        for start in range(0, len(answered), RECOVERY_BATCH):
            verdicts = await self._ledger.get_verdicts(answered[start : start + RECOVERY_BATCH])
            await self._evaluate_pending(
                {
                    address: answer
                    for address, answer in verdicts.items()
                    if isinstance(answer, Verdict) and (before is None or answer.time < before)
                }
            )
        if before is None and self._scheduler is not None:
            await self._scheduler.begin()

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
        for count, message in enumerate(messages, 1):
            decoded = self.guard.decode(self._decoder, message)
            timestamp, started = leap(self._clock, decoded, message, started)
            if timestamp is not None:
                await self._match(group, tracker)
                await self._advance_to(timestamp)
                group, started = {}, None
                advance(self._clock, decoded, message)
            if started is None:
                started = self._clock.now()
            self.counts.decoded(decoded)
            if decoded.rejects:
                await self.guard.reject(message.position, decoded.rejects)
            group_by_address(decoded.signins, message.enqueued, group)
            if self._mode.group_messages and count % self._mode.group_messages == 0:
                await self._match(group, tracker)
                group = {}
                await asyncio.sleep(0)  # let other tasks run: partitions, lookups, endpoints
        await self._match(group, tracker)
        await self.run_maintenance()
        while self.in_flight.too_many and self._lookups is not None:
            await self._lookups.wait_for_result()
        tracker.done()

    async def flush(self) -> None:
        """Wait for lookups in flight, and send all findings. Pending sign-ins stay pending."""
        await self._enqueuer.flush()
        await self._evaluator.flush_aggregates(None)
        if self._lookups is not None:
            await self._lookups.wait_until_idle()
        await self._enqueuer.flush()
        await self._evaluator.flush_aggregates(None)
        await self._outbox.flush()
        await self._history.flush()
        await self._recent.flush()

    async def drain(self, *, hurry: bool = False) -> None:
        """Finish all work: look up what is queued, retry what is pending, send all findings.

        If *hurry* is true, the rest of the budget may be spent because nothing follows.
        """
        if self._scheduler is not None:
            await self._scheduler.finish(spend_remaining=hurry)
        await self.flush()

    async def reject(self, position: Position, reject: Reject) -> None:
        """Count and quarantine a message that could not be read from its recording."""
        self.counts.messages += 1
        self.counts.records += 1
        self.counts.rejected += 1
        self.counts.unreadable += 1
        await self.guard.reject(position, [reject])

    async def run_maintenance(self) -> None:
        """Run periodic work that is due; cheap if none is."""
        self._enqueuer.raise_failure()
        now = self._clock.now()
        soon = self._dispatches_at_once()
        if soon or not 0 <= now - self._dispatched < self._mode.dispatch_interval:
            self._dispatched = now
            if self._mode.by_events:
                await self._evaluator.flush_aggregates(now - 3_600)
            if self._scheduler is not None:
                await self._scheduler.dispatch()
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

    def _dispatches_at_once(self) -> bool:
        """Return True if more can be looked up: the source is back, or most others are done."""
        if self._scheduler is None or self._lookups is None:
            return False
        if self._lookups.paid_lookup.take_recovery():
            return True
        done = not self._mode.by_events and self._lookups.pending < MIN_BACKLOG_IN_FLIGHT
        return done and self._scheduler.more_due

    async def _advance_to(self, timestamp: float) -> None:
        """Run the periodic work that would have been due before the event clock advances.

        Once sign-ins have waited for the maximum time, none is pending, and the clock can jump.
        """
        await self.run_maintenance()
        step = self._mode.dispatch_interval
        until = min(
            timestamp, self._clock.now() + self._waiting_limit + 2 * EXPIRY_INTERVAL_SECONDS
        )
        while (
            isinstance(self._clock, EventClock)
            and self._scheduler is not None
            and self._scheduler.constrained
            and until - self._clock.now() > step
        ):
            self._clock.advance_within(self._clock.now() + step)
            await self.run_maintenance()

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

    # --- stages ---

    async def _begin_budget(self, now: float) -> None:
        """Start the budget's first period with the first record, looked up or not."""
        if not self._budget_begun and now > 0 and self._lookups is not None:
            self._budget_begun = True
            await self._lookups.begin()

    async def _match(self, group: dict[str, list[Sighting]], tracker: BatchTracker) -> None:
        """Evaluate resolved addresses, look up new ones, enqueue those that must wait."""
        await self._begin_budget(self._clock.now())
        if not group:
            return
        self.counts.seen(group)
        self._recent.record(group)
        in_flight = self.in_flight.addresses
        matches = self._local_sources.match(list(group))
        answers = await self._cache.get_verdicts(
            [address for address in group if address not in in_flight]
        )
        triaged = self._triage.triage(group, answers, matches, tracker)
        waiting = triaged.waiting | await self._look_up(triaged.new, tracker)
        for address, verdict in triaged.verdicts.items():
            self.counts.cache_hits += firsts(group[address])
            await self._evaluator.evaluate_in_flight(
                address, group[address], verdict, [tracker], matches.get(address)
            )
        for address, sightings in triaged.in_feed.items():
            self.counts.cache_hits += firsts(sightings)
            match = matches[address]
            await self._evaluator.evaluate_in_flight(address, sightings, None, [tracker], match)
            if not self._evaluator.cannot_alert(None, match):
                self._on_verdict({}, self.retro_match.verdicts_of({address: match}))
        if unmatched := [address for address in triaged.unmatched if address not in matches]:
            unanswered = Unanswered(why=self._local_sources.reason_not_looked_up, expires=0.0)
            self._on_verdict(dict.fromkeys(unmatched, unanswered), {})
        verdicts = triaged.verdicts
        if matches:
            verdicts = {address: v for address, v in verdicts.items() if address not in matches}
        await self._recheck(verdicts, group, tracker)
        await self._enqueuer.add(waiting, {address: [tracker] for address in waiting})
        await self.guard.flush()
        if self._lookups is not None and self._mode.by_events:
            await self._lookups.wait_for_in_flight()  # the clock must not advance during a lookup

    async def _recheck(
        self,
        verdicts: Mapping[str, Verdict],
        group: Mapping[str, list[Sighting]],
        tracker: BatchTracker,
    ) -> None:
        """Enqueue sign-ins whose address awaits, or deserves, a recheck."""
        if self._scheduler is None or not verdicts:
            return
        rechecks = {
            address: v for address, v in verdicts.items() if self._scheduler.worth_enqueueing(v)
        }
        others = verdicts.keys() - rechecks.keys()
        if self._scheduler.constrained and others:
            scores = await self._pending.learn_history(
                {address: group[address] for address in others}
            )
            due = {
                address: verdict
                for address, score in scores.items()
                if (verdict := self._scheduler.recheck_due(verdicts[address], score)) is not None
            }
            if due:
                await self._cache.put_verdicts(due)
                rechecks |= due
        await self._enqueuer.add(
            {address: group[address] for address in rechecks},
            {address: [tracker] for address in rechecks},
            evaluated=True,
        )

    async def _look_up(
        self, new: dict[str, list[Sighting]], tracker: BatchTracker
    ) -> dict[str, list[Sighting]]:
        """Look up new addresses, or return them if they must wait."""
        if not new or self._scheduler is None or self._lookups is None:
            return {}
        if not await self._scheduler.dispatch_now(list(new)):
            why = await self._scheduler.reason_to_wait()
            self.counts.reasons[why.value] += sum(map(firsts, new.values()))
            return new
        for address, sightings in new.items():
            self.in_flight.add(address, sightings, tracker)
        self._lookups.enqueue(list(new))
        return {}

    async def deliver(self, answers: Mapping[str, Answer]) -> None:
        """Process lookup results; called by the lookup queue."""
        answered = [address for address, answer in answers.items() if isinstance(answer, Verdict)]
        pending = await self._ledger.waiting_among(answered, just_answered=True)
        late: dict[str, Verdict] = {}
        matches = self._local_sources.match(list(answers))
        self._on_verdict(answers, self.retro_match.verdicts_of(matches))
        rechecks: dict[str, list[Sighting]] = {}
        waiting: dict[str, list[Sighting]] = {}
        trackers: dict[str, list[BatchTracker]] = {}
        for address, answer in answers.items():
            sightings, trackers[address] = self.in_flight.pop(address)
            if isinstance(answer, Verdict):
                self.counts.verdicts[(answer.source, answer.reputation.value)] += 1
                self.counts.cache_hits += max(0, firsts(sightings) - 1)
                await self._evaluator.evaluate_in_flight(
                    address, sightings, answer, trackers[address], matches.get(address)
                )
                if answer.recheck_pending:
                    rechecks[address] = sightings
                    self.counts.resolved_late(address, None)
                elif address in pending:
                    late[address] = answer
            elif sightings:
                waiting[address] = sightings
                self.counts.reasons[answer.why.value] += firsts(sightings)
        await self._evaluate_pending(late)
        await self._enqueuer.add(waiting, {address: trackers[address] for address in waiting})
        again = {address: sightings for address, sightings in rechecks.items() if sightings}
        await self._enqueuer.add(
            again, {address: trackers[address] for address in again}, evaluated=True
        )
        for tracker in chain.from_iterable(trackers.values()):
            tracker.done()

    async def _evaluate_pending(self, answered: Mapping[str, Verdict]) -> None:
        for address, acknowledged in (await self._evaluator.evaluate_pending(answered)).items():
            self.counts.resolved_late(address, acknowledged)
            self._pending.capacity.clear(address)
