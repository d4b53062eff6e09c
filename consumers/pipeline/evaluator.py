"""Judging sign-ins whose address is answered, and passing on what is found."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from schemas.events.times import parse_time
from schemas.intel.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.enrichment.history import History
    from consumers.enrichment.local_sources import LocalMatch, LocalSources
    from consumers.pipeline.batch import BatchTracker
    from consumers.pipeline.in_flight import Sighting
    from consumers.pipeline.judge import Judge
    from consumers.pipeline.outbox import Outbox
    from consumers.pipeline.record_guard import RecordGuard
    from schemas.events.sign_in import Details, SignIn
    from schemas.intel.verdicts import Answer
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock
    from schemas.rows.findings import FindingRow

PENDING_BATCH = 500
"""Waiting sign-ins that are judged at once."""


class Evaluator:
    """Hands sign-ins to the judge, and its findings to the outbox."""

    def __init__(
        self,
        judge: Judge,
        history: History,
        outbox: Outbox,
        ledger: Ledger,
        clock: Clock,
        local_sources: LocalSources,
        guard: RecordGuard,
    ) -> None:
        self._guard = guard
        self._judge = judge
        self._local_sources = local_sources
        self._history = history
        self._outbox = outbox
        self._ledger = ledger
        self._clock = clock
        self._folded: list[BatchTracker] = []

    @property
    def aggregating(self) -> bool:
        """Tell whether batches wait for a row that counts what was folded."""
        return bool(self._folded)

    def cannot_alert(self, verdict: Verdict | None, known: LocalMatch | None) -> bool:
        """Tell whether no sign-in from an address can become a finding by what is known now."""
        words = [] if verdict is None else [verdict]
        if known is not None:
            if known.in_feed:
                return False
            words.extend(known.verdicts)
        return all(map(self._judge.cannot_alert, words))

    def matched_by_feed(
        self, address: str, held: Sequence[Sighting], known: LocalMatch
    ) -> tuple[list[Sighting], list[Sighting]]:
        """Part sign-ins into those of which free sources speak, at their time, and the others."""
        if known.conclusive:
            return list(held), []
        parts: tuple[list[Sighting], list[Sighting]] = ([], [])
        now, wall = self._clock.now(), datetime.now(UTC)
        for one in held:
            signin, enqueued, _ = one
            with self._guard.around(signin):
                moment = event_time_of(signin, enqueued, row_time(now, wall))
                parts[not self._local_sources.verdicts_of(address, known, moment)].append(one)
        return parts

    async def evaluate_in_flight(
        self,
        address: str,
        held: Sequence[Sighting],
        verdict: Verdict | None,
        tickets: Sequence[BatchTracker],
        known: LocalMatch | None = None,
    ) -> None:
        """Judge sign-ins that are held for an address; *tickets* wait for what is found."""
        if not held or self.cannot_alert(verdict, known):
            return
        await self._history.fetch_bad([address])
        now, wall = self._clock.now(), datetime.now(UTC)
        rows, moments, folds = [], [], self._judge.aggregates
        for signin, enqueued, _ in held:
            with self._guard.around(signin):
                details = signin.details(enqueued=enqueued, fallback_time=row_time(now, wall))
                words = self._words(address, details, verdict, known)
                row = self._judged(details, address, words, wall=wall, now=now)
                if row is not None:
                    rows.append(row)
                    moments.append(enqueued.timestamp() if enqueued else None)
        await self._guard.flush()
        if self._judge.aggregates > folds:
            for ticket in tickets:
                ticket.add()  # until the row is told that counts what was folded
                self._folded.append(ticket)
        await self._outbox.add(rows, enqueued=moments, tickets=tickets)

    async def evaluate_pending(self, answered: Mapping[str, Verdict]) -> dict[str, int]:
        """Judge what waits in the ledger for answered addresses; let go of it, and return how much.

        Of each address, that is.
        """
        known = self._local_sources.match(list(answered))
        harmless = [
            one for one, verdict in answered.items() if self.cannot_alert(verdict, known.get(one))
        ]
        settled = await self._ledger.acknowledge_addresses(harmless) if harmless else {}
        for address, verdict in answered.items():
            if address not in harmless:
                settled[address] = await self._waiting(address, verdict, known.get(address))
        return settled

    async def split_by_feed_validity(self, known: Mapping[str, LocalMatch]) -> dict[str, int]:
        """Judge what waits of which free sources speak now; let go of it, and return how much."""
        settled = {}
        answers = await self._ledger.get_verdicts(list(known)) if known else {}
        for address, one in known.items():
            settled[address] = await self._waiting(address, None, one, answers.get(address))
        return {address: count for address, count in settled.items() if count}

    async def _waiting(
        self,
        address: str,
        verdict: Verdict | None,
        known: LocalMatch | None,
        besides: Answer | None = None,
    ) -> int:
        """Judge what waits for an address, part by part, until nothing is left that is spoken of.

        What nobody speaks of stays where it is. *besides* is heard only where somebody does.
        """
        settled = left = 0
        while True:
            waiting = await self._ledger.waiting_for(address, left + PENDING_BATCH)
            spoken = []
            rows, folds = [], self._judge.aggregates
            await self._history.fetch_bad([address])
            now, wall = self._clock.now(), datetime.now(UTC)
            for one in waiting:
                with self._guard.around(one):
                    words = _with(besides, self._words(address, one.details, verdict, known))
                    if not words:
                        continue
                    row = self._judged(one.details, address, words, wall=wall, now=now, late=True)
                    if row is not None:
                        rows.append(row)
                spoken.append(one)
            if not spoken and len(waiting) < left + PENDING_BATCH:
                return settled
            await self._guard.flush()
            await self._outbox.add(rows)
            if self._judge.aggregates > folds:
                await self.flush_aggregates(None)
            await self._outbox.flush()  # also what was found of them before they waited
            await self._ledger.acknowledge(spoken)
            settled += len(spoken)
            left = len(waiting) - len(spoken)

    async def evaluate_late(self, signins: Sequence[tuple[str, Details]]) -> dict[str, LocalMatch]:
        """Judge sign-ins that went by before a free source spoke of their address.

        Return the addresses that one speaks of now.
        """
        known = self._local_sources.match(list({address for address, _ in signins}))
        await self._history.fetch_bad(list(known))
        answers = await self._ledger.get_verdicts(list(known)) if known else {}
        now, wall = self._clock.now(), datetime.now(UTC)
        folds, rows = self._judge.aggregates, []
        for address, details in signins:
            one = known.get(address)
            with self._guard.around(details):
                words = self._words(address, details, None, one) if one is not None else []
                words = _with(answers.get(address), words)
                row = self._judged(details, address, words, wall=wall, now=now, late=True)
                if row is not None:
                    rows.append(row)
        await self._guard.flush()
        await self._outbox.add(rows)
        if self._judge.aggregates > folds:
            await self.flush_aggregates(None)
        return known

    def _words(
        self, address: str, details: Details, verdict: Verdict | None, known: LocalMatch | None
    ) -> list[Verdict]:
        """Return all words on an address that hold at a sign-in's time."""
        words = [] if verdict is None else [verdict]
        if known is not None:
            words += self._local_sources.verdicts_of(address, known, details.event_time.timestamp())
        return words

    def _judged(
        self,
        details: Details,
        address: str,
        words: Sequence[Verdict],
        *,
        wall: datetime,
        now: float,
        late: bool = False,
    ) -> FindingRow | None:
        if not words:
            return None
        accounts = self._history.accounts_from(
            address, details.account, details.event_time.timestamp()
        )
        return self._judge.judge(
            details, address, words, wall=wall, now=now, accounts=accounts, late=late
        )

    async def flush_aggregates(self, before: float | None) -> None:
        """Tell the rows that count what was folded in hours that ended *before*; all for None."""
        tickets: list[BatchTracker] = []
        if before is None:
            tickets, self._folded = self._folded, []
        await self._outbox.add(
            self._judge.close_aggregates(before, datetime.now(UTC)), tickets=tickets
        )
        for ticket in tickets:
            ticket.done()


def _with(answer: Answer | None, words: list[Verdict]) -> list[Verdict]:
    """Return words, with what the ledger knows besides if there are any."""
    return [answer, *words] if words and isinstance(answer, Verdict) else words


def event_time_of(signin: SignIn, enqueued: datetime | None, fallback: datetime) -> float:
    """Return when a sign-in began, in seconds since the epoch, as :meth:`SignIn.details` would."""
    quick = parse_time(signin.late_columns[-1]) if signin.late_columns is not None else None
    if quick is None:
        quick = signin.details(enqueued=enqueued, fallback_time=fallback).event_time
    return quick.timestamp()


def row_time(now: float, wall: datetime) -> datetime:
    """Return the clock's time, or wall time while a recording has told none."""
    return datetime.fromtimestamp(now, UTC) if now > 0 else wall
