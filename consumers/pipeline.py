"""The one chain: messages in, findings out, everything between settled or durably waiting."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING

from consumers.counts import Counts
from consumers.event_time import advance, leaps
from consumers.held import HeldSignIns
from consumers.tickets import Ticket
from schemas.findings import finding_id
from schemas.ports import Quarantined, Waiting
from schemas.verdicts import Answer, Unanswered, Verdict, WhyUnanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from consumers.held import Held
    from consumers.judge import Judge
    from consumers.ledger.memory import AnswerMemory
    from consumers.lookup import Lookups
    from consumers.outbox import Outbox
    from schemas.addresses import Networks
    from schemas.decode import Decoded, Decoder, Reject
    from schemas.ports import Clock, Ledger, Message, Position, Quarantine

AGAIN_SECONDS = {"event": 600.0, "wall": 15.0}
"""How often waiting addresses are offered again, by our clock."""
TOGETHER = 25
"""Messages of a live stream that are matched together: more keep more sign-ins alive at once, and
the event loop from everything else. A recording's time decides for itself."""
FOLDED_SECONDS = 60.0
"""How often, in a service, the rows are told that count what is folded; batches wait for that."""
_SLICE = 500
_FIRST = itemgetter(2)


class Pipeline:
    """Takes messages, and holds on to each sign-in until it is judged or waits in the ledger.

    Batches may be taken side by side, but not by the event clock.
    """

    def __init__(
        self,
        *,
        decoder: Decoder,
        memory: AnswerMemory,
        ledger: Ledger,
        lookups: Lookups | None,
        judge: Judge,
        outbox: Outbox,
        quarantine: Quarantine,
        clock: Clock,
        own_networks: Networks,
        waiting_limit: float,
        exact: bool = True,
        told: Callable[[Mapping[str, Answer]], None] = lambda _: None,
    ) -> None:
        """*exact* counts each address (see Counts); *told* hears of every new answer."""
        self.counts = Counts(exact=exact)
        self.held = HeldSignIns()
        self._decoder = decoder
        self._memory = memory
        self._ledger = ledger
        self._lookups = lookups
        self._judge = judge
        self._outbox = outbox
        self._quarantine = quarantine
        self._clock = clock
        self._own_networks = own_networks
        self._waiting_limit = waiting_limit
        self._told = told
        self._folded: list[Ticket] = []
        self._fold_told = 0.0
        self._offered = 0.0
        self._recoveries = 0
        self._begun = False

    # --- from outside ---

    async def recover(self, before: float | None = None) -> None:
        """Judge what was left answered but unsettled, by an earlier process or a lost instance.

        With *before*, only what was answered before that time: younger answers are being worked on.
        """
        for address in await self._ledger.answered_waiting():
            answer = (await self._ledger.answers([address])).get(address)
            if isinstance(answer, Verdict) and (before is None or answer.time < before):
                await self._judge_waiting(address, answer)

    async def take(self, messages: Iterable[Message], ticket: Ticket | None = None) -> None:
        """Take messages in order. Returns when there is room for more.

        Whether all of them are settled is what the *ticket* tells.
        """
        ticket = ticket or Ticket()
        ticket.hold()
        group: dict[str, list[Held]] = {}
        started: float | None = None
        for taken, message in enumerate(messages, 1):
            decoded = self._decoder.decode(message.body)
            if leaps(self._clock, decoded, message, started):
                await self._match(group, ticket)  # what is due is done before the clock moves on
                group, started = {}, None
                advance(self._clock, decoded, message)
            if started is None:
                started = self._clock.now()
                await self._begin(started)
            self.counts.decoded(decoded)
            if decoded.rejects:
                await self._quarantine.put(
                    [_set_aside(message.position, one) for one in decoded.rejects]
                )
            self._collect(decoded, message, group)
            if taken % TOGETHER == 0 and self._clock.kind == "wall":
                await self._match(group, ticket)
                group = {}
                await asyncio.sleep(0)  # others have their turn: partitions, answers, endpoints
        await self._match(group, ticket)
        await self.keep_house()
        while self.held.too_many and self._lookups is not None:
            await self._lookups.eased()
        ticket.release()

    async def settle(self) -> None:
        """Wait for what is being asked, and send all findings. What waits goes on waiting."""
        await self._tell_folded(None)
        if self._lookups is not None:
            await self._lookups.finished()
        await self._tell_folded(None)
        await self._outbox.flush()

    async def drain(self) -> None:
        """Settle everything: ask what is wanted, try once more what waits, send all findings."""
        await self._finish_asking()
        await self.settle()

    async def reject(self, position: Position, reject: Reject) -> None:
        """Count and set aside a message that could not even be taken out of its recording."""
        self.counts.messages += 1
        self.counts.records += 1
        self.counts.rejected += 1
        self.counts.unreadable += 1
        await self._quarantine.put([_set_aside(position, reject)])

    async def keep_house(self) -> None:
        """Do what is due now and then; cheap when it is not."""
        now = self._clock.now()
        if self._lookups is not None and self._lookups.asker.breaker.recoveries > self._recoveries:
            self._recoveries = self._lookups.asker.breaker.recoveries
            self._offered = 0.0  # what waited for the source has waited long enough
        if now - self._offered >= AGAIN_SECONDS[self._clock.kind] or now < self._offered:
            self._offered = now
            await self._ledger.give_up(now - self._waiting_limit)
            if self._clock.kind == "event":
                await self._tell_folded(now - 3_600)
            await self._offer()
        if self._clock.kind == "wall" and (
            self._folded and now - self._fold_told >= FOLDED_SECONDS
        ):
            self._fold_told = now
            await self._tell_folded(None)
        await self._outbox.flush_if_due()

    # --- the chain ---

    async def _begin(self, now: float) -> None:
        """Let the budget's first period begin with the first record, asked about or not."""
        if not self._begun and now > 0 and self._lookups is not None:
            self._begun = True
            await self._lookups.begin()

    @staticmethod
    def _collect(decoded: Decoded, message: Message, group: dict[str, list[Held]]) -> None:
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

    async def _match(self, group: dict[str, list[Held]], ticket: Ticket) -> None:
        """Judge what is answered, ask about the rest, park what may not be asked now."""
        if not group:
            return
        self.counts.seen(group)
        asked = self.held.addresses
        answers = await self._memory.answers([one for one in group if one not in asked])
        verdicts: dict[str, Verdict] = {}
        parked: dict[str, list[Held]] = {}
        wanted: list[str] = []
        for address, held in group.items():  # without a pause, or an answer could slip through
            answer = answers.get(address)
            if isinstance(answer, Verdict):
                verdicts[address] = answer
            elif address in self._own_networks:
                self.counts.own_network += _firsts(held)
            elif self._lookups is None:
                self.counts.unanswered += _firsts(held)
                self.counts.reasons[WhyUnanswered.NO_SOURCE.value] += _firsts(held)
            elif isinstance(answer, Unanswered):
                parked[address] = held
                self.counts.reasons[answer.why.value] += _firsts(held)
            else:
                self.held.add(address, held, ticket)
                wanted.append(address)
        if self._lookups is not None:
            self._lookups.want(wanted)
        for address, verdict in verdicts.items():
            self.counts.cache_hits += _firsts(group[address])
            await self._judge_held(address, group[address], verdict, [ticket])
        await self._park(parked, {address: [ticket] for address in parked})
        if self._lookups is not None and self._clock.kind == "event":
            await self._lookups.landed()  # the clock must not run on while questions are open

    async def deliver(self, answers: Mapping[str, Answer]) -> None:
        """Take what became of a question; called by the lookups."""
        self._told(answers)
        late = [address for address, answer in answers.items() if isinstance(answer, Verdict)]
        waiting = await self._ledger.waiting_among(late) if late else set()
        parked: dict[str, list[Held]] = {}
        tickets: dict[str, list[Ticket]] = {}
        for address, answer in answers.items():
            held, tickets[address] = self.held.pop(address)
            if isinstance(answer, Verdict):
                self.counts.verdicts[(answer.source, answer.reputation.value)] += 1
                self.counts.cache_hits += max(0, _firsts(held) - 1)
                await self._judge_held(address, held, answer, tickets[address])
                if address in waiting:
                    await self._judge_waiting(address, answer)
            elif held:
                parked[address] = held
                self.counts.reasons[answer.why.value] += _firsts(held)
        await self._park(parked, tickets)
        for ticket in (one for several in tickets.values() for one in several):
            ticket.release()

    async def _judge_held(
        self, address: str, held: Sequence[Held], verdict: Verdict, tickets: Sequence[Ticket]
    ) -> None:
        if self._judge.harmless(verdict):
            return
        now, wall = self._clock.now(), datetime.now(UTC)
        rows, moments, folds = [], [], self._judge.folds
        for signin, enqueued, _ in held:
            details = signin.details(enqueued=enqueued, fallback_time=_moment(now, wall))
            row = self._judge.judge(details, address, verdict, wall=wall, now=now)
            if row is not None:
                rows.append(row)
                moments.append(enqueued.timestamp() if enqueued else None)
        if self._judge.folds > folds:
            for ticket in tickets:
                ticket.hold()  # until the row is told that counts what was folded
                self._folded.append(ticket)
        await self._outbox.add(rows, enqueued=moments, tickets=tickets)

    async def _judge_waiting(self, address: str, verdict: Verdict) -> None:
        """Judge the sign-ins that wait for *address* in the ledger, and let go of them."""
        while waiting := await self._ledger.waiting_for(address, _SLICE):
            now, wall = self._clock.now(), datetime.now(UTC)
            rows, folds = [], self._judge.folds
            for one in waiting:
                row = self._judge.judge(one.details, address, verdict, wall=wall, now=now)
                if row is not None:
                    rows.append(row)
            await self._outbox.add(rows)
            if self._judge.folds > folds:
                await self._tell_folded(None)
            await self._outbox.flush()  # also what was found of them before they waited
            await self._ledger.settle(waiting)
            self.counts.answered_late(address, len(waiting))

    async def _park(
        self, parked: Mapping[str, Sequence[Held]], tickets: Mapping[str, Sequence[Ticket]]
    ) -> None:
        """Let sign-ins wait in the ledger; judge those whose address was answered meanwhile."""
        if not parked:
            return
        now = self._clock.now()
        fallback = _moment(now, datetime.now(UTC))
        waiting = []
        for address, held in parked.items():
            for signin, enqueued, _ in held:
                details = signin.details(enqueued=enqueued, fallback_time=fallback)
                key = finding_id(details.table, details.event_id, address)
                waiting.append(Waiting(key, address, details, now))
        answered = await self._ledger.park_unless_answered(waiting)
        self._memory.remember(answered)
        for address, held in parked.items():
            if address in answered:
                self.counts.cache_hits += _firsts(held)
                await self._judge_held(address, held, answered[address], tickets[address])
            else:
                self.counts.parked(address, _firsts(held))

    async def _tell_folded(self, before: float | None) -> None:
        """Tell the rows that count what was folded in hours that ended *before*; all for None."""
        tickets: list[Ticket] = []
        if before is None:
            tickets, self._folded = self._folded, []
        await self._outbox.add(self._judge.folded(before, datetime.now(UTC)), tickets=tickets)
        for ticket in tickets:
            ticket.release()

    async def _offer(self) -> None:
        """Ask about what waits, if asking is possible now."""
        if self._lookups is not None and await self._lookups.may_ask():
            self._lookups.want(await self._ledger.due(_SLICE))

    async def _finish_asking(self) -> None:
        """Ask all that is wanted, then what waits, as long as that brings answers."""
        if self._lookups is None:
            return
        await self._lookups.finished()
        self._lookups.reopen()
        while await self._lookups.may_ask():
            before = self._lookups.counts.lookups
            due = await self._ledger.due(_SLICE)
            self._lookups.want(due)
            await self._lookups.finished()
            if self._lookups.counts.lookups == before:
                break


def _set_aside(position: Position, reject: Reject) -> Quarantined:
    place = f"{position.source}:{position.number}"
    return Quarantined("message", reject.reason, place, reject.body, datetime.now(UTC))


def _firsts(held: Sequence[Held]) -> int:
    return sum(map(_FIRST, held))


def _moment(now: float, wall: datetime) -> datetime:
    """Return the clock's time, or wall time while a recording has told none."""
    return datetime.fromtimestamp(now, UTC) if now > 0 else wall
