"""Evaluates sign-ins whose address has a verdict, and passes findings to the outbox."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING

from consumers.enrichment.entra import entra_verdict
from consumers.pipeline.row_times import event_time_of, row_time
from schemas.intel.verdicts import ENTRA, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.enrichment.history import History
    from consumers.enrichment.local_sources import LocalMatch, LocalSources
    from consumers.pipeline.batch import BatchTracker
    from consumers.pipeline.evidence import Answered, Evidence, KnownBefore
    from consumers.pipeline.in_flight import Sighting
    from consumers.pipeline.judge import Judge
    from consumers.pipeline.outbox import Outbox
    from consumers.pipeline.pending import CapacityHint
    from consumers.pipeline.record_guard import RecordGuard
    from schemas.events.sign_in import Details, SignIn
    from schemas.intel.verdicts import Answer
    from schemas.ledger_ports import Ledger, PendingSignIn
    from schemas.ports import Clock
    from schemas.rows.context import SignInContext
    from schemas.rows.findings import FindingRow

RECOVERY_BATCH = 500
"""Resolved addresses that are evaluated together after a start."""
PENDING_ADDRESSES = 50
"""Addresses whose pending sign-ins are evaluated together."""
PENDING_BATCH = 500
"""Pending sign-ins of an address that are evaluated together."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known now about the address of pending sign-ins."""

    verdict: Verdict | None
    match: LocalMatch | None
    cached: Answer | None = None
    """Adds to other verdicts, and does not count alone."""


class Evaluator:
    """Passes sign-ins to the judge and its findings to the outbox."""

    def __init__(
        self,
        judge: Judge,
        history: History,
        outbox: Outbox,
        ledger: Ledger,
        clock: Clock,
        local_sources: LocalSources,
        guard: RecordGuard,
        capacity: CapacityHint,
        known: KnownBefore,
    ) -> None:
        self._review = known.review
        self._stories = known.stories
        self._guard = guard
        self._capacity = capacity
        self._judge = judge
        self._local_sources = local_sources
        self._history = history
        self._outbox = outbox
        self._ledger = ledger
        self._clock = clock
        self._aggregated: list[BatchTracker] = []

    @property
    def aggregating(self) -> bool:
        """Whether batches wait for an aggregate row to be sent."""
        return bool(self._aggregated)

    def cannot_alert(self, verdict: Verdict | None, match: LocalMatch | None) -> bool:
        """Return True if the current verdicts cannot make a finding of any sign-in."""
        verdicts = [] if verdict is None else [verdict]
        if match is not None:
            if match.in_feed:
                return False
            verdicts.extend(match.verdicts)
        return all(map(self._judge.cannot_alert, verdicts))

    def split_by_feed_validity(
        self, address: str, sightings: Sequence[Sighting], match: LocalMatch
    ) -> tuple[list[Sighting], list[Sighting]]:
        """Split sign-ins: those that local sources match at their event time, and the rest."""
        if match.conclusive:
            return list(sightings), []
        parts: tuple[list[Sighting], list[Sighting]] = ([], [])
        now, wall = self._clock.now(), datetime.now(UTC)
        for sighting in sightings:
            signin, enqueued, _ = sighting
            with self._guard.around(signin):
                timestamp = event_time_of(signin, enqueued, row_time(now, wall))
                found = self._local_sources.verdicts_of(address, match, timestamp)
                parts[not self._review.believed(found)].append(sighting)
        return parts

    async def evaluate_answered(self, answered: Sequence[Answered]) -> None:
        """Evaluate in-flight sign-ins whose address has just got a verdict."""
        matches = self._local_sources.match([item.address for item in answered])
        for item in answered:
            match = matches.get(item.address)
            await self.evaluate_in_flight(
                item.address, item.sightings, item.verdict, item.trackers, match
            )

    async def evaluate_in_flight(
        self,
        address: str,
        sightings: Sequence[Sighting],
        verdict: Verdict | None,
        trackers: Sequence[BatchTracker],
        match: LocalMatch | None = None,
    ) -> None:
        """Evaluate in-flight sign-ins of an address; *trackers* complete when findings are sent."""
        if not sightings or self.cannot_alert(verdict, match):
            return
        fallback = row_time(self._clock.now(), datetime.now(UTC))
        read: list[tuple[SignIn, datetime | None, Details]] = []
        for signin, enqueued, _ in sightings:
            with self._guard.around(signin):
                details = signin.details(enqueued=enqueued, fallback_time=fallback)
                read.append((signin, enqueued, details))
        await self._fetch({address: match}, [(address, details) for _, _, details in read])
        rows, enqueued_at, aggregates_before = [], [], self._judge.aggregates
        for signin, enqueued, details in read:
            with self._guard.around(signin):
                verdicts = self._verdicts(address, details, verdict, match)
                row = self._finding(details, address, verdicts)
                if row is not None:
                    rows.append(row)
                    enqueued_at.append(enqueued.timestamp() if enqueued else None)
        await self._guard.flush()
        if self._judge.aggregates > aggregates_before:
            for tracker in trackers:
                tracker.add()  # until the aggregate row is sent
                self._aggregated.append(tracker)
        await self._outbox.add(rows, enqueued=enqueued_at, trackers=trackers)

    async def recover(self, before: float | None) -> None:
        """Evaluate resolved pending sign-ins that a previous process or a lost instance left.

        With *before*, skip sign-ins resolved after that time: they are being processed.
        """
        answered = await self._ledger.answered_waiting()
        for start in range(0, len(answered), RECOVERY_BATCH):
            verdicts = await self._ledger.get_verdicts(answered[start : start + RECOVERY_BATCH])
            await self.evaluate_pending(
                {
                    address: answer
                    for address, answer in verdicts.items()
                    if isinstance(answer, Verdict) and (before is None or answer.time < before)
                }
            )

    async def evaluate_pending(
        self, answered: Mapping[str, Verdict], *, just_answered: bool = False
    ) -> None:
        """Evaluate and acknowledge the pending sign-ins of addresses that have a verdict now.

        With *just_answered*, many may have none: this instance has just stored the
        verdicts.
        """
        if just_answered:
            pending = await self._ledger.waiting_among(list(answered), just_answered=True)
            answered = {address: answered[address] for address in answered if address in pending}
        matches = self._local_sources.match(list(answered))
        unalertable = [
            address
            for address, verdict in answered.items()
            if self.cannot_alert(verdict, matches.get(address))
        ]
        if unalertable:
            self._resolve(await self._ledger.acknowledge_addresses(unalertable))
        await self._evaluate_waiting(
            {
                address: _Known(verdict, matches.get(address))
                for address, verdict in answered.items()
                if address not in unalertable
            }
        )

    def _resolve(self, acknowledged: Mapping[str, int]) -> None:
        """Count addresses as resolved by the number of their acknowledged sign-ins."""
        for address, count in acknowledged.items():
            self._guard.counts.resolved_late(address, count)
            self._capacity.clear(address)

    async def evaluate_matched(self, matches: Mapping[str, LocalMatch]) -> None:
        """Evaluate and acknowledge pending sign-ins that local sources match now."""
        cached = await self._ledger.get_verdicts(list(matches)) if matches else {}
        await self._evaluate_waiting(
            {
                address: _Known(None, match, cached.get(address))
                for address, match in matches.items()
            }
        )

    async def _evaluate_waiting(self, known: Mapping[str, _Known]) -> None:
        """Evaluate the pending sign-ins of addresses. Those without any verdict stay pending."""
        left = dict.fromkeys(known, 0)  # sign-ins that were read and stay
        while left:
            part = list(islice(left.items(), PENDING_ADDRESSES))
            pages = await asyncio.gather(
                *(self._ledger.waiting_for(address, PENDING_BATCH + stay) for address, stay in part)
            )
            people = [(signin.address, signin.details) for page in pages for signin in page]
            await self._fetch({address: known[address].match for address, _ in part}, people)
            aggregates_before = self._judge.aggregates
            evaluated: dict[str, list[PendingSignIn]] = {}
            rows: list[FindingRow] = []
            for (address, _), page in zip(part, pages, strict=True):
                evaluated[address] = self._judge_waiting(known[address], page, rows)
            await self._guard.flush()
            await self._outbox.add(rows)
            if self._judge.aggregates > aggregates_before:
                await self.flush_aggregates(None)
            await self._outbox.flush()  # includes their findings from before they were enqueued
            more = await self._ledger.acknowledge(list(chain.from_iterable(evaluated.values())))
            self._resolve({address: len(done) for address, done in evaluated.items() if done})
            for (address, stay), page in zip(part, pages, strict=True):
                unmatched = len(page) - len(evaluated[address])
                full = len(page) == PENDING_BATCH + stay
                del left[address]
                if full or more.get(address, 0) > unmatched:  # some came meanwhile
                    left[address] = unmatched

    def _judge_waiting(
        self, known: _Known, pending: Sequence[PendingSignIn], rows: list[FindingRow]
    ) -> list[PendingSignIn]:
        """Add the findings of pending sign-ins to *rows*; return those that are evaluated."""
        evaluated = []
        for signin in pending:
            with self._guard.around(signin):
                verdicts = _with_cached(
                    known.cached,
                    self._verdicts(signin.address, signin.details, known.verdict, known.match),
                )
                if not verdicts:
                    continue
                row = self._finding(signin.details, signin.address, verdicts, late=True)
                if row is not None:
                    rows.append(row)
            evaluated.append(signin)
        return evaluated

    async def evaluate_late(self, signins: Sequence[tuple[str, Details]]) -> dict[str, LocalMatch]:
        """Evaluate recent sign-ins that a local source may match only now.

        Return the matches by address.
        """
        matches = self._local_sources.match(list({address for address, _ in signins}))
        people = [item for item in signins if item[0] in matches]
        await self._fetch(matches, people)
        cached = await self._ledger.get_verdicts(list(matches)) if matches else {}
        aggregates_before, rows = self._judge.aggregates, []
        for address, details in signins:
            match = matches.get(address)
            with self._guard.around(details):
                verdicts = (
                    self._verdicts(address, details, None, match) if match is not None else []
                )
                verdicts = _with_cached(cached.get(address), verdicts)
                row = self._finding(details, address, verdicts, late=True)
                if row is not None:
                    rows.append(row)
        await self._guard.flush()
        await self._outbox.add(rows)
        if self._judge.aggregates > aggregates_before:
            await self.flush_aggregates(None)
        return matches

    async def evaluate_evidence(
        self, evidence: Sequence[Evidence], trackers: Sequence[BatchTracker]
    ) -> None:
        """Evaluate sign-ins with what is said of them, and what is known of their addresses.

        *trackers* complete when the findings so far are accepted, also without *evidence*.
        """
        if not evidence:
            await self._outbox.add((), trackers=trackers)
            return
        addresses = list({item.address for item in evidence})
        matches = self._local_sources.match(addresses)
        cached = await self._ledger.get_verdicts(addresses)
        known = {address: matches.get(address) for address in addresses}
        await self._fetch(known, [(item.address, item.details) for item in evidence])
        rows = []
        for item in evidence:
            with self._guard.around(item.details):
                answers = [item.verdict, cached.get(item.address)]
                verdicts = [answer for answer in answers if isinstance(answer, Verdict)]
                verdicts += self._verdicts(item.address, item.details, None, known[item.address])
                late = not trackers
                row = self._finding(
                    item.details, item.address, verdicts, late=late, context=item.context
                )
                if row is not None:
                    rows.append(row)
        await self._guard.flush()
        await self._outbox.add(rows, trackers=trackers)

    async def _fetch(
        self, matches: Mapping[str, LocalMatch | None], people: Sequence[tuple[str, Details]]
    ) -> None:
        """Read what the ledger knows of addresses, of people, and of what feeds say."""
        await self._history.fetch_bad(matches, [details for _, details in people])
        await self._stories.fetch_context(people)
        named = [
            verdict
            for address, match in matches.items()
            if match is not None and match.in_feed
            for verdict in self._local_sources.verdicts_of(address, match, None)
        ]
        if named:
            await self._review.prepare(named)

    def _verdicts(
        self, address: str, details: Details, verdict: Verdict | None, match: LocalMatch | None
    ) -> list[Verdict]:
        """Return all verdicts on an address that hold at the time of a sign-in."""
        verdicts = [] if verdict is None else [verdict]
        if match is not None:
            verdicts += self._review.believed(
                self._local_sources.verdicts_of(address, match, details.event_time.timestamp())
            )
        return verdicts

    def _finding(
        self,
        details: Details,
        address: str,
        verdicts: Sequence[Verdict],
        *,
        late: bool = False,
        context: SignInContext | None = None,
    ) -> FindingRow | None:
        if not verdicts and context is None:
            return None
        detected = entra_verdict(details)
        if detected is not None and all(verdict.source != ENTRA for verdict in verdicts):
            verdicts = [*verdicts, detected]
        named = {verdict.source for verdict in verdicts}
        classes = self._local_sources.class_verdicts(address, details.event_time.timestamp())
        verdicts = [*verdicts, *(it for it in classes if it.source not in named)]
        accounts = self._history.accounts_from(
            address,
            details.account,
            details.event_time.timestamp(),
            (details.account_object_id or "").lower(),
        )
        doubt = self._review.doubt(verdicts, details.event_time.toordinal())
        return self._judge.judge(
            details,
            address,
            verdicts,
            wall=datetime.now(UTC),
            now=self._clock.now(),
            accounts=accounts,
            late=late,
            doubt=doubt,
            context=context or self._stories.context(address, details),
        )

    async def flush_aggregates(self, before: float | None) -> None:
        """Send the aggregate rows of hours that ended *before*; of all hours if None."""
        trackers: list[BatchTracker] = []
        if before is None:
            trackers, self._aggregated = self._aggregated, []
        await self._outbox.add(
            self._judge.close_aggregates(before, datetime.now(UTC)), trackers=trackers
        )
        for tracker in trackers:
            tracker.done()


def _with_cached(cached: Answer | None, verdicts: list[Verdict]) -> list[Verdict]:
    """Return the verdicts plus the cached verdict; nothing if there are no other verdicts."""
    return [cached, *verdicts] if verdicts and isinstance(cached, Verdict) else verdicts
