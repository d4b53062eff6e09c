"""Paid lookup of one batch: lease, reserve budget, request; never repeat a request that counted."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import stamina
import structlog

from consumers.enrichment.circuit_breaker import CircuitBreaker
from consumers.enrichment.failed_lookups import FailedLookups
from schemas.errors import (
    BatchRefused,
    KeyRefused,
    QuotaSpent,
    SourceFailed,
    SourceUnavailable,
    TooFast,
)
from schemas.health import HealthReporter, Problem
from schemas.intel.verdicts import Answer, Reputation, Unanswered, Verdict, WhyUnanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumers.enrichment.budget import Budget, Reservation
    from schemas.ledger_ports import VerdictStore
    from schemas.ports import Clock, Source, SourceVerdict

log = structlog.get_logger()

MAX_ATTEMPTS = 4
"""Times that a request is sent while the source only wants it slower."""
MAX_RECONNECTS = 2
"""Times that a request is sent again if it never reached the source."""
LEASE_RELEASE_TIMEOUT_SECONDS = 2.0
"""Seconds to release leases during shutdown; unreleased leases expire."""
BATCHES_OFF_SECONDS = (60.0, 300.0, 3_600.0)
"""Seconds of single-address lookups after a refused batch: the first time, the second time in a
row, and each time after that."""
KEY_DOUBT_SECONDS, KEY_DOUBT_PAUSE_SECONDS, KEY_REFUSED_PAUSE_SECONDS = 120.0, 10.0, 600.0
"""Seconds for which a refused key is in doubt; seconds between attempts then, and later."""
QUOTA_PAUSE_SECONDS = 3_600.0
"""Seconds between probes of a source that reports a spent quota."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Lifetimes of verdicts in seconds, by reputation."""

    malicious: float
    suspicious: float
    benign: float
    unknown: float

    def of(self, reputation: Reputation) -> float:
        """Return the lifetime of a verdict with this reputation, in seconds."""
        lifetime: float = getattr(self, reputation.value)
        return lifetime


@dataclass(slots=True)
class LookupCounts:
    """Lookups and requests made so far."""

    lookups: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True)
class AddressLease:
    """Leases that let instances share the lookups of a ledger."""

    ledger: VerdictStore
    lease: float
    """Seconds that a lease lasts; longer than any request."""


@dataclass(slots=True)
class BatchOutcome:
    """What became of a batch: verdicts or reasons, and addresses to retry individually."""

    answers: dict[str, Answer] = field(default_factory=dict)
    resolved: dict[str, Answer] = field(default_factory=dict)
    """Verdicts that the ledger held already, from another instance or process."""
    retry_individually: list[str] = field(default_factory=list)


class PaidLookup:
    """Looks up addresses in a paid source, within the budget.

    If instances share a ledger, *lease* ensures that one instance looks up an address. If *degrade*
    is true, a refused key becomes a reason for no verdict; otherwise KeyRefused is raised.
    """

    def __init__(
        self,
        source: Source,
        budget: Budget,
        clock: Clock,
        *,
        lifetimes: Lifetimes,
        concurrency: int,
        health: HealthReporter,
        lease: AddressLease | None = None,
        degrade: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts = LookupCounts()
        self.source = source
        self.budget = budget
        self.breaker = CircuitBreaker(concurrency, monotonic)
        self.failed = FailedLookups(budget, clock)
        self._clock = clock
        self._lifetimes = lifetimes
        self._health = health
        self._lease = lease
        self._degrade = degrade
        self._monotonic = monotonic
        self._batches_off_until = -math.inf
        self._batches_refused = 0
        self._single_unreported = False
        self._key_refused_since: float | None = None
        self._times_closed = 0
        self.paused_because = WhyUnanswered.SOURCE_DOWN
        """Reason for no verdict while the circuit is open."""

    @property
    def batch_size(self) -> int:
        """Maximum number of addresses in the next request."""
        if self.breaker.probing or self._monotonic() < self._batches_off_until:
            return 1
        return self.source.batch_size

    def take_recovery(self) -> bool:
        """Return True once when waiting addresses can be looked up that could not before.

        The circuit has closed, or postponed addresses are due.
        """
        recovered = self.breaker.times_closed > self._times_closed
        self._times_closed = self.breaker.times_closed
        return self.failed.take_due() or recovered

    def use_key(self, key: str) -> None:
        """Switch to another key at once. Its quota is accounted separately."""
        self.source.use_key(key)
        self.budget.use_key(key)
        self._batches_off_until, self._batches_refused = -math.inf, 0
        self._single_unreported = False
        self._key_refused_since = None
        self.breaker.allow_probe()

    async def may_look_up(self) -> bool:
        """Return True if a lookup is possible now: the source is up and lookups are left."""
        return not self.breaker.is_open and await self.budget.open()

    async def look_up(self, addresses: Sequence[str]) -> BatchOutcome:
        """Look up *addresses* that no other instance is looking up, as far as the budget allows."""
        if self.breaker.is_open:
            return BatchOutcome(self._unanswered(addresses, self.paused_because))
        if not await self.budget.open():
            self._report_spent_quota()
            return BatchOutcome(self._unanswered(addresses, WhyUnanswered.QUOTA))
        if self._lease is None:
            return await self._look_up_within_budget(addresses)
        leases = await self._lease.ledger.acquire(addresses, self._lease.lease)
        outcome = BatchOutcome()
        if leases.acquired:
            try:
                outcome = await self._look_up_within_budget(
                    [address for address in addresses if address in leases.acquired]
                )
            except asyncio.CancelledError:
                async with asyncio.timeout(LEASE_RELEASE_TIMEOUT_SECONDS):
                    await self._lease.ledger.release(list(leases.acquired))
                raise
            stored = {address for address, answer in outcome.answers.items() if answer.expires > 0}
            if unresolved := [address for address in leases.acquired if address not in stored]:
                await self._lease.ledger.release(unresolved)
        outcome.resolved = leases.resolved
        handled = leases.acquired | leases.resolved.keys()
        others = [address for address in addresses if address not in handled]
        outcome.answers |= self._unanswered(others, WhyUnanswered.LOOKED_UP_ELSEWHERE)
        return outcome

    async def _look_up_within_budget(self, addresses: Sequence[str]) -> BatchOutcome:
        reservation = await self.budget.reserve(len(addresses))
        allowed, refused = addresses[: reservation.lookups], addresses[reservation.lookups :]
        if await self.budget.open():
            self._health.resolve(Problem.QUOTA_SPENT, part=self.source.name)
            why = WhyUnanswered.NOT_YET
        else:
            self._report_spent_quota()
            why = WhyUnanswered.QUOTA
        outcome = BatchOutcome(self._unanswered(refused, why))
        if not allowed:
            return outcome
        try:
            verdicts = await self._request(allowed)
        except KeyRefused as error:
            await self.budget.refund(reservation)
            outcome.answers |= self._on_key_refused(error, allowed)
            return outcome
        except SourceFailed as error:
            await self._on_failure(error, allowed, reservation, outcome)
            return outcome
        self.breaker.record_success()
        self.failed.record_success(verdicts)
        self._key_refused_since = None
        if len(allowed) > 1:
            self._batches_refused = 0
        self._report_recovery()
        self.counts.lookups += len(verdicts)
        outcome.answers |= self._verdicts(verdicts)
        return outcome

    async def _request(self, addresses: Sequence[str]) -> dict[str, SourceVerdict]:
        """Send a request; repeat it only while it definitely does not count."""
        retries = 0

        def should_retry(error: Exception) -> bool | float:
            nonlocal retries
            retries += 1
            if isinstance(error, TooFast):
                self.breaker.slow_down()
                return True if error.retry_after is None else error.retry_after
            lost = isinstance(error, SourceUnavailable) and not error.counted
            return lost and retries <= MAX_RECONNECTS

        async for attempt in stamina.retry_context(
            on=should_retry, attempts=MAX_ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=30.0
        ):
            with attempt:
                if retries and self._lease is not None:
                    await self._lease.ledger.acquire(addresses, self._lease.lease)
                self.counts.requests += 1
                return await self.source.look_up(addresses)
        raise AssertionError("unreachable")  # pragma: no cover

    def _on_key_refused(self, error: KeyRefused, addresses: Sequence[str]) -> dict[str, Answer]:
        if not self._degrade:
            raise error
        now = self._monotonic()
        if self._key_refused_since is None:
            self._key_refused_since = now
        in_doubt = now - self._key_refused_since < KEY_DOUBT_SECONDS
        self.breaker.start_over()
        # the key was the cause, not its plan
        self._batches_off_until, self._batches_refused = -math.inf, 0
        self._single_unreported = False
        self.breaker.open(KEY_DOUBT_PAUSE_SECONDS if in_doubt else KEY_REFUSED_PAUSE_SECONDS)
        self.paused_because = WhyUnanswered.KEY_REFUSED
        self._health.report(Problem.KEY_REFUSED, str(error), part=self.source.name)
        return self._unanswered(addresses, WhyUnanswered.KEY_REFUSED)

    async def _on_failure(
        self,
        error: SourceFailed,
        addresses: Sequence[str],
        reservation: Reservation,
        outcome: BatchOutcome,
    ) -> None:
        """Handle a failed request: refund or count its lookups, pause, postpone its addresses."""
        if error.counted:
            self.counts.lookups += len(addresses)
        else:
            await self.budget.refund(reservation)
        if isinstance(error, BatchRefused):
            outcome.retry_individually = list(addresses)
            self._pause_batches()
            return
        if isinstance(error, QuotaSpent):
            self._health.report(Problem.QUOTA_SPENT, str(error), part=self.source.name)
            await self._wait_for_quota()
            outcome.answers |= self._unanswered(addresses, WhyUnanswered.QUOTA)
            return
        self.breaker.record_failure(definite=isinstance(error, TooFast))
        self.paused_because = WhyUnanswered.SOURCE_DOWN
        if self.breaker.probing:
            self._health.report(Problem.SOURCE_DOWN, str(error), part=self.source.name)
        postponed = self.failed.record_failure(addresses) if error.counted else 0.0
        outcome.answers |= self._unanswered(addresses, WhyUnanswered.SOURCE_DOWN, postponed)

    def _report_spent_quota(self) -> None:
        self._health.report(
            Problem.QUOTA_SPENT,
            "the period's lookup quota is spent; use a larger plan or adjust "
            f"{self.source.settings}__MONTHLY_QUOTA",
            part=self.source.name,
        )

    async def _wait_for_quota(self) -> None:
        """Pause lookups: in a replay for the rest of the period, in a service until the next probe.

        A request refused for quota costs nothing, and the source's period may differ from ours.
        """
        if self._clock.mode.by_events:
            await self.budget.exhaust()
        else:
            self.breaker.open(QUOTA_PAUSE_SECONDS)
            self.paused_because = WhyUnanswered.QUOTA

    def _pause_batches(self) -> None:
        """Look up addresses individually for a while; the first result decides if the key works."""
        now = self._monotonic()
        if now < self._batches_off_until:
            return  # another batch was in flight
        self.breaker.start_over()
        pause = BATCHES_OFF_SECONDS[min(self._batches_refused, len(BATCHES_OFF_SECONDS) - 1)]
        self._batches_refused += 1
        self._batches_off_until = now + pause
        self._single_unreported = True

    def _report_recovery(self) -> None:
        for problem in (Problem.SOURCE_DOWN, Problem.KEY_REFUSED):
            self._health.resolve(problem, part=self.source.name)
        if self._single_unreported:
            self._single_unreported = False
            log.warning(
                "looking up one address at a time",
                source=self.source.name,
                why="a batch was refused; the key's plan may not allow them",
                seconds=BATCHES_OFF_SECONDS[
                    min(self._batches_refused, len(BATCHES_OFF_SECONDS)) - 1
                ],
            )

    def _verdicts(self, found: Mapping[str, SourceVerdict]) -> dict[str, Verdict]:
        """Add lifetimes. Addresses with the same source verdict share one verdict object."""
        now = self._clock.now()
        shared: dict[int, Verdict] = {}
        verdicts = {}
        for address, source_verdict in found.items():
            verdict = shared.get(id(source_verdict))
            if verdict is None:
                verdict = shared[id(source_verdict)] = self._verdict(source_verdict, now)
            verdicts[address] = verdict
        return verdicts

    def _verdict(self, found: SourceVerdict, now: float) -> Verdict:
        return Verdict(
            reputation=found.reputation,
            source=self.source.name,
            time=now,
            expires=now + self._lifetimes.of(found.reputation),
            address_class=found.address_class,
            intel=found.intel,
        )

    @staticmethod
    def _unanswered(
        addresses: Sequence[str], why: WhyUnanswered, expires: float = 0.0
    ) -> dict[str, Answer]:
        return dict.fromkeys(addresses, Unanswered(why=why, expires=expires))
