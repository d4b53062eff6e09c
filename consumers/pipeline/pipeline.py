"""The one chain: messages in, findings out, everything between settled or durably waiting."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from consumers.clock import EventClock
from consumers.event_time import advance, leap
from consumers.pipeline.batch import BatchTracker
from consumers.pipeline.evaluator import Evaluator
from consumers.pipeline.in_flight import InFlight
from consumers.pipeline.retro_match import RetroMatch
from consumers.pipeline.triage import Triage, firsts
from schemas.durations import DAY_SECONDS
from schemas.intel.verdicts import Answer, Unanswered, Verdict
from schemas.ports import QuarantineItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    from consumers.pipeline.retro_match import Told
    from schemas.events.addresses import Networks
    from schemas.events.decode import Decoded, Decoder, Reject
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock, Message, Position

DISPATCH_INTERVAL_SECONDS = {"event": 600.0, "wall": 15.0}
"""How often waiting addresses are offered again, by our clock."""
EXPIRY_INTERVAL_SECONDS = 600.0
"""How often what has waited too long is given up, by our clock."""
LIVE_GROUP_MESSAGES = 25
"""Messages of a live stream that are matched together: more keep more sign-ins alive at once, and
the event loop from everything else. A recording's time decides for itself."""
AGGREGATES_INTERVAL_SECONDS = 60.0
"""How often, in a service, the rows are told that count what is folded; batches wait for that."""
RECOVERY_BATCH = 500
"""Answered addresses that are looked at together after a start."""


class Pipeline:
    """Takes messages, and holds on to each sign-in until it is judged or waits in the ledger.

    Batches may be taken side by side, but not by the event clock.
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
        on_verdict: Told = lambda *_: None,
    ) -> None:
        """*on_verdict* hears of every new answer."""
        self.counts = guard.counts
        self.in_flight = InFlight() if in_flight is None else in_flight
        self._decoder = decoder
        self._memory = cache
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
        self._outbox = outbox
        self.guard = guard
        self._clock = clock
        self._waiting_limit = waiting_limit
        self._recent = recent
        self._told = on_verdict
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
        self._fold_told = 0.0
        self._offered = 0.0
        self._tidied: float | None = None
        self._recoveries = 0
        self._begun = False

    # --- from outside ---

    async def recover(self, before: float | None = None) -> None:
        """Judge what was left answered but unsettled, by an earlier process or a lost instance.

        With *before*, only what was answered before that time: younger answers are being worked on.
        """
        answered = await self._ledger.answered_waiting()
        for start in range(0, len(answered), RECOVERY_BATCH):
            some = await self._ledger.get_verdicts(answered[start : start + RECOVERY_BATCH])
            await self._judge_waiting(
                {
                    address: answer
                    for address, answer in some.items()
                    if isinstance(answer, Verdict) and (before is None or answer.time < before)
                }
            )
        if before is None and self._scheduler is not None:
            await self._scheduler.begin()

    async def process(
        self, messages: Iterable[Message], ticket: BatchTracker | None = None
    ) -> None:
        """Take messages in order. Returns when there is room for more.

        Whether all of them are settled is what the *ticket* tells.
        """
        ticket = ticket or BatchTracker()
        ticket.add()
        group: dict[str, list[Sighting]] = {}
        started: float | None = None
        for taken, message in enumerate(messages, 1):
            decoded = self.guard.decode(self._decoder, message)
            moment, started = leap(self._clock, decoded, message, started)
            if moment is not None:
                await self._match(group, ticket)
                await self._let_pass(moment)
                group, started = {}, None
                advance(self._clock, decoded, message)
            if started is None:
                started = self._clock.now()
            self.counts.decoded(decoded)
            if decoded.rejects:
                await self.guard.set_aside(
                    [_set_aside(message.position, one) for one in decoded.rejects]
                )
            self._collect(decoded, message, group)
            if taken % LIVE_GROUP_MESSAGES == 0 and self._clock.kind == "wall":
                await self._match(group, ticket)
                group = {}
                await asyncio.sleep(0)  # others have their turn: partitions, answers, endpoints
        await self._match(group, ticket)
        await self.run_maintenance()
        while self.in_flight.too_many and self._lookups is not None:
            await self._lookups.wait_for_result()
        ticket.done()

    async def flush(self) -> None:
        """Wait for what is being asked, and send all findings. What waits goes on waiting."""
        await self._evaluator.flush_aggregates(None)
        if self._lookups is not None:
            await self._lookups.wait_until_idle()
        await self._evaluator.flush_aggregates(None)
        await self._outbox.flush()
        await self._history.flush()
        await self._recent.flush()

    async def drain(self, *, hurry: bool = False) -> None:
        """Settle everything: ask what is wanted, try once more what waits, send all findings.

        With *hurry* all that is left of the budget may go, for nothing comes after.
        """
        if self._scheduler is not None:
            await self._scheduler.finish(hurry=hurry)
        await self.flush()

    async def reject(self, position: Position, reject: Reject) -> None:
        """Count and set aside a message that could not even be taken out of its recording."""
        self.counts.messages += 1
        self.counts.records += 1
        self.counts.rejected += 1
        self.counts.unreadable += 1
        await self.guard.set_aside([_set_aside(position, reject)])

    async def run_maintenance(self) -> None:
        """Do what is due now and then; cheap when it is not."""
        now = self._clock.now()
        if (
            self._lookups is not None
            and self._lookups.paid_lookup.breaker.times_closed > self._recoveries
        ):
            self._recoveries = self._lookups.paid_lookup.breaker.times_closed
            self._offered = 0.0  # what waited for the source has waited long enough
        if (
            now - self._offered >= DISPATCH_INTERVAL_SECONDS[self._clock.kind]
            or now < self._offered
        ):
            self._offered = now
            await self._history.flush()
            if self._clock.kind == "event":
                await self._evaluator.flush_aggregates(now - 3_600)
            if self._scheduler is not None:
                await self._scheduler.dispatch()
            await self._tidy(now)
        if self._clock.kind == "wall" and (
            self._evaluator.aggregating and now - self._fold_told >= AGGREGATES_INTERVAL_SECONDS
        ):
            self._fold_told = now
            await self._evaluator.flush_aggregates(None)
        await self._recent.flush_if_due()
        await self._outbox.flush_if_due()

    async def _let_pass(self, moment: float) -> None:
        """Do what is due before the event clock moves on, as it would have been done meanwhile.

        After the time that a sign-in may wait nothing of before is left, and the clock leaps.
        """
        await self.run_maintenance()
        step = DISPATCH_INTERVAL_SECONDS["event"]
        until = min(moment, self._clock.now() + self._waiting_limit + 2 * EXPIRY_INTERVAL_SECONDS)
        while (
            isinstance(self._clock, EventClock)
            and self._scheduler is not None
            and self._scheduler.constrained
            and until - self._clock.now() > step
        ):
            self._clock.advance_within(self._clock.now() + step)
            await self.run_maintenance()

    async def _tidy(self, now: float) -> None:
        """Give up what has waited too long; by the event clock also forget what has expired."""
        if self._tidied is None or now < self._tidied:
            self._tidied = now  # what waited while nobody was there is offered once before
        if now - self._tidied < EXPIRY_INTERVAL_SECONDS:
            return
        await self._ledger.expire_pending(now - self._waiting_limit)
        if self._clock.kind == "event" and now // DAY_SECONDS > self._tidied // DAY_SECONDS:
            await self._ledger.purge_expired()  # in a service that is done beside the stream
        self._tidied = now

    # --- the chain ---

    async def _begin(self, now: float) -> None:
        """Let the budget's first period begin with the first record, asked about or not."""
        if not self._begun and now > 0 and self._lookups is not None:
            self._begun = True
            await self._lookups.begin()

    @staticmethod
    def _collect(decoded: Decoded, message: Message, group: dict[str, list[Sighting]]) -> None:
        """Sort sign-ins by address."""
        enqueued = message.enqueued
        for signin in decoded.signins:
            first = True
            for address in signin.addresses:
                held = group.get(address)
                if held is None:
                    group[address] = [(signin, enqueued, first)]
                else:
                    held.append((signin, enqueued, first))
                first = False

    async def _match(self, group: dict[str, list[Sighting]], ticket: BatchTracker) -> None:
        """Judge what is answered, ask about the rest, park what may not be asked now."""
        await self._begin(self._clock.now())
        if not group:
            return
        self.counts.seen(group)
        self._recent.record(group)
        asked = self.in_flight.addresses
        known = self._local_sources.match(list(group))
        answers = await self._memory.get_verdicts([one for one in group if one not in asked])
        sorted_out = self._triage.triage(group, answers, known, ticket)
        parked = sorted_out.waiting | await self._ask(sorted_out.new, ticket)
        for address, verdict in sorted_out.verdicts.items():
            self.counts.cache_hits += firsts(group[address])
            one = known.get(address)
            await self._evaluator.evaluate_in_flight(
                address, group[address], verdict, [ticket], one
            )
        for address, held in sorted_out.in_feed.items():
            self.counts.cache_hits += firsts(held)
            await self._evaluator.evaluate_in_flight(address, held, None, [ticket], known[address])
            if not self._evaluator.cannot_alert(None, known[address]):
                self._told({}, self.retro_match.verdicts_of({address: known[address]}))
        if silent := [one for one in sorted_out.unmatched if one not in known]:
            nobody = Unanswered(why=self._local_sources.reason_not_looked_up, expires=0.0)
            self._told(dict.fromkeys(silent, nobody), {})
        verdicts = sorted_out.verdicts
        if known:
            verdicts = {one: verdict for one, verdict in verdicts.items() if one not in known}
        await self._look_again(verdicts, group)
        await self._park(parked, {address: [ticket] for address in parked})
        await self.guard.flush()
        if self._lookups is not None and self._clock.kind == "event":
            await self._lookups.in_flight()  # the clock must not run on while questions are open

    async def _look_again(
        self, verdicts: Mapping[str, Verdict], group: Mapping[str, list[Sighting]]
    ) -> None:
        """Let sign-ins wait whose address is, or deserves to be, asked about again."""
        if self._scheduler is None or not verdicts:
            return
        again = {one: v for one, v in verdicts.items() if self._scheduler.worth_enqueueing(v)}
        others = verdicts.keys() - again.keys()
        if self._scheduler.constrained and others:
            scores = await self._pending.learn_history({one: group[one] for one in others})
            reopened = {
                address: verdict
                for address, score in scores.items()
                if (verdict := self._scheduler.recheck_due(verdicts[address], score)) is not None
            }
            if reopened:
                await self._memory.put_verdicts(reopened)
                again |= reopened
        if again:
            await self._pending.enqueue({address: group[address] for address in again})

    async def _ask(
        self, new: dict[str, list[Sighting]], ticket: BatchTracker
    ) -> dict[str, list[Sighting]]:
        """Ask about new addresses, or return them if it is not their turn."""
        if not new or self._scheduler is None or self._lookups is None:
            return {}
        if not await self._scheduler.dispatch_now(list(new)):
            why = await self._scheduler.reason_to_wait()
            self.counts.reasons[why.value] += sum(map(firsts, new.values()))
            return new
        for address, held in new.items():
            self.in_flight.add(address, held, ticket)
        self._lookups.enqueue(list(new))
        return {}

    async def deliver(self, answers: Mapping[str, Answer]) -> None:
        """Take what became of a question; called by the lookups."""
        told = [address for address, answer in answers.items() if isinstance(answer, Verdict)]
        waiting = await self._ledger.waiting_among(told) if told else set()
        late: dict[str, Verdict] = {}
        known = self._local_sources.match(list(answers))
        self._told(answers, self.retro_match.verdicts_of(known))
        open_still: dict[str, list[Sighting]] = {}
        parked: dict[str, list[Sighting]] = {}
        tickets: dict[str, list[BatchTracker]] = {}
        for address, answer in answers.items():
            held, tickets[address] = self.in_flight.pop(address)
            if isinstance(answer, Verdict):
                self.counts.verdicts[(answer.source, answer.reputation.value)] += 1
                self.counts.cache_hits += max(0, firsts(held) - 1)
                one = known.get(address)
                await self._evaluator.evaluate_in_flight(
                    address, held, answer, tickets[address], one
                )
                if answer.recheck_pending:
                    open_still[address] = held
                    self.counts.resolved_late(address, None)
                elif address in waiting:
                    late[address] = answer
            elif held:
                parked[address] = held
                self.counts.reasons[answer.why.value] += firsts(held)
        await self._judge_waiting(late)
        await self._park(parked, tickets)
        if any(open_still.values()):
            await self._pending.enqueue({one: held for one, held in open_still.items() if held})
        for ticket in (one for several in tickets.values() for one in several):
            ticket.done()

    async def _judge_waiting(self, answered: Mapping[str, Verdict]) -> None:
        for address, settled in (await self._evaluator.evaluate_pending(answered)).items():
            self.counts.resolved_late(address, settled)
            self._pending.capacity.clear(address)

    async def _park(
        self,
        parked: Mapping[str, Sequence[Sighting]],
        tickets: Mapping[str, Sequence[BatchTracker]],
    ) -> None:
        """Let sign-ins wait in the ledger; judge those whose address was answered meanwhile."""
        if not parked:
            return
        answered = await self._pending.enqueue(parked)
        self._memory.remember(answered)
        known = self._local_sources.match(list(answered))
        for address, held in parked.items():
            if address in answered:
                self.counts.cache_hits += firsts(held)
                verdict, one = answered[address], known.get(address)
                await self._evaluator.evaluate_in_flight(
                    address, held, verdict, tickets[address], one
                )
            else:
                self.counts.enqueued(address, firsts(held))


def _set_aside(position: Position, reject: Reject) -> QuarantineItem:
    place = f"{position.source}:{position.number}"
    return QuarantineItem("message", reject.reason, place, reject.body, datetime.now(UTC))
