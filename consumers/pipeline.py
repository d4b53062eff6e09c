"""The one chain: messages in, findings out, everything between settled or durably waiting."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING

from consumers.clock import EventClock
from consumers.held import HeldSignIns
from schemas.findings import finding_id
from schemas.ports import Quarantined, Waiting
from schemas.times import parse_time
from schemas.verdicts import Answer, Unanswered, Verdict, WhyUnanswered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from consumers.held import Held
    from consumers.judge import Judge
    from consumers.ledger.memory import AnswerMemory
    from consumers.lookup import Lookups
    from consumers.outbox import Outbox
    from schemas.addresses import Networks
    from schemas.decode import Decoded, Decoder, Reject
    from schemas.ports import Clock, Ledger, Message, Position, Quarantine
    from schemas.records import SignIn

GROUP_SECONDS = 300.0
"""By the event clock, the longest stretch of a recording that is handled at one moment."""
AGAIN_SECONDS = 600.0
"""How often waiting addresses are offered again, by our clock."""
_SLICE = 500
_FIRST = itemgetter(2)


@dataclass(slots=True)
class Counts:
    """What went through; words as in the summary."""

    messages: int = 0
    records: int = 0
    rejected: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    signins: int = 0
    cache_hits: int = 0
    own_network: int = 0
    unanswered: int = 0
    reasons: set[str] = field(default_factory=set)
    """Why addresses were unanswered when they were."""
    addresses: set[str] = field(default_factory=set)


class Pipeline:
    """Takes messages, and holds on to each sign-in until it is judged or waits in the ledger."""

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
    ) -> None:
        self.counts = Counts()
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
        self._held = HeldSignIns()
        self._unanswered: Counter[str] = Counter()
        self._offered = 0.0
        self._any_waiting = True
        self._begun = False

    # --- from outside ---

    async def recover(self) -> None:
        """Judge first what an earlier process left answered but unsettled."""
        for address in await self._ledger.answered_waiting():
            answer = (await self._memory.answers([address])).get(address)
            if isinstance(answer, Verdict):
                await self._judge_waiting(address, answer)
        self._any_waiting = (await self._ledger.size()).waiting > 0

    async def take(self, messages: Iterable[Message]) -> None:
        """Take messages in order. Returns when there is room for more, not when all is settled."""
        group: dict[str, list[Held]] = {}
        started: float | None = None
        for message in messages:
            decoded = self._decoder.decode(message.body)
            if self._leaps(decoded, message, started):
                await self._match(group)  # what is due is done before the clock moves on
                group, started = {}, None
                self._advance(decoded, message)
            now = self._clock.now()
            if started is None:
                started = now
                await self._begin(now)
            await self._count(decoded, message)
            self._collect(decoded, message, group)
        await self._match(group)
        await self._keep_house()

    async def drain(self) -> None:
        """Settle everything: ask what is wanted, try once more what waits, send all findings."""
        await self._finish_asking()
        await self._outbox.add(self._judge.folded(None, datetime.now(UTC)))
        await self._outbox.flush()

    async def reject(self, position: Position, reject: Reject) -> None:
        """Count and set aside a message that could not even be taken out of its recording."""
        self.counts.messages += 1
        self.counts.records += 1
        self.counts.rejected += 1
        await self._quarantine.put([_set_aside(position, reject)])

    # --- the chain ---

    def _leaps(self, decoded: Decoded, message: Message, started: float | None) -> bool:
        """Move the event clock on, unless that would be too far at once; tell whether it is."""
        clock = self._clock
        if not isinstance(clock, EventClock):
            return False
        mark = clock.mark()
        self._advance(decoded, message)
        leaps = started is not None and clock.now() - started > GROUP_SECONDS
        if leaps:
            clock.turn_back(mark)
        return leaps

    async def _begin(self, now: float) -> None:
        """Let the budget's first period begin with the first record, asked about or not."""
        if not self._begun and now > 0 and self._lookups is not None:
            self._begun = True
            await self._lookups.begin()

    def _advance(self, decoded: Decoded, message: Message) -> None:
        """Move the event clock on. Wall time needs no telling."""
        clock = self._clock
        if isinstance(clock, EventClock):
            latest = _latest_of_one_form(decoded.signins)
            if latest is None or not clock.advance_to_latest(latest):
                clock.advance(signin.record_time() for signin in decoded.signins)
            clock.advance([message.enqueued])

    async def _count(self, decoded: Decoded, message: Message) -> None:
        counts = self.counts
        counts.messages += 1
        counts.records += decoded.records
        counts.signins += len(decoded.signins)
        counts.skipped += decoded.skips
        if decoded.rejects:
            counts.rejected += decoded.rejected
            await self._quarantine.put(
                [_set_aside(message.position, one) for one in decoded.rejects]
            )

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

    async def _match(self, group: dict[str, list[Held]]) -> None:
        """Judge what is answered, ask about the rest, park what may not be asked now."""
        if not group:
            return
        self.counts.addresses.update(group)
        asked = self._held.addresses
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
                self.counts.reasons.add(WhyUnanswered.NO_SOURCE.value)
            elif isinstance(answer, Unanswered):
                parked[address] = held
                self.counts.reasons.add(answer.why.value)
            else:
                self._held.add(address, held)
                wanted.append(address)
        if self._lookups is not None:
            self._lookups.want(wanted)
        for address, verdict in verdicts.items():
            self.counts.cache_hits += _firsts(group[address])
            await self._judge_held(address, group[address], verdict)
        await self._park(parked)
        if self._lookups is not None and isinstance(self._clock, EventClock):
            await self._lookups.landed()  # the clock must not run on while questions are open

    async def deliver(self, answers: Mapping[str, Answer]) -> None:
        """Take what became of a question; called by the lookups."""
        parked: dict[str, list[Held]] = {}
        for address, answer in answers.items():
            held = self._held.pop(address)
            if isinstance(answer, Verdict):
                self.counts.cache_hits += max(0, _firsts(held) - 1)
                await self._judge_held(address, held, answer)
                if self._any_waiting:
                    await self._judge_waiting(address, answer)
            elif held:
                parked[address] = held
                self.counts.reasons.add(answer.why.value)
        await self._park(parked)

    async def _judge_held(self, address: str, held: Sequence[Held], verdict: Verdict) -> None:
        if self._judge.harmless(verdict):
            return
        now, wall = self._clock.now(), datetime.now(UTC)
        rows = []
        for signin, enqueued, _ in held:
            details = signin.details(enqueued=enqueued, fallback_time=_moment(now, wall))
            row = self._judge.judge(details, address, verdict, wall=wall, now=now)
            if row is not None:
                rows.append(row)
        await self._outbox.add(rows)

    async def _judge_waiting(self, address: str, verdict: Verdict) -> None:
        """Judge the sign-ins that wait for *address* in the ledger, and let go of them."""
        while waiting := await self._ledger.waiting_for(address, _SLICE):
            now, wall = self._clock.now(), datetime.now(UTC)
            rows = []
            for one in waiting:
                row = self._judge.judge(one.details, address, verdict, wall=wall, now=now)
                if row is not None:
                    rows.append(row)
            await self._outbox.add(rows)
            await self._outbox.flush()  # also what was found of them before they waited
            await self._ledger.settle([one.key for one in waiting])
            answered = min(len(waiting), self._unanswered[address])
            self._unanswered[address] -= answered
            if not self._unanswered[address]:
                del self._unanswered[address]
            self.counts.unanswered -= answered

    async def _park(self, parked: Mapping[str, Sequence[Held]]) -> None:
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
        self._any_waiting = True
        answered = await self._ledger.park_unless_answered(waiting)
        for address, held in parked.items():
            if address in answered:
                self.counts.cache_hits += _firsts(held)
                await self._judge_held(address, held, answered[address])
            else:
                self.counts.unanswered += _firsts(held)
                self._unanswered[address] += _firsts(held)

    # --- what is due now and then ---

    async def _keep_house(self) -> None:
        now = self._clock.now()
        if now - self._offered >= AGAIN_SECONDS or now < self._offered:
            self._offered = now
            await self._ledger.give_up(now - self._waiting_limit)
            await self._outbox.add(self._judge.folded(now - 3_600, datetime.now(UTC)))
            if self._lookups is not None and self._unanswered and await self._lookups.may_ask():
                self._lookups.want(await self._ledger.due(_SLICE))
        if self._held.too_many and self._lookups is not None:
            await self._lookups.finished()
        await self._outbox.flush_if_due()

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


def _latest_of_one_form(signins: Sequence[SignIn]) -> datetime | None:
    """Return the latest time of a body's records, if their texts can be compared as they are."""
    texts = [text for signin in signins if type(text := signin.written) is str]
    if not texts or len(texts) < len(signins) or len(set(map(len, texts))) > 1:
        return None
    first, last = min(texts), max(texts)
    comparable = last.endswith("Z") and first[4:5] == last[4:5] == "-"
    return parse_time(last) if comparable else None


def _moment(now: float, wall: datetime) -> datetime:
    """Return the clock's time, or wall time while a recording has told none."""
    return datetime.fromtimestamp(now, UTC) if now > 0 else wall
