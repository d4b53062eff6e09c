"""One batch of addresses, asked of a paid source: claimed, reserved, asked, never blindly again."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import stamina
import structlog

from consumers.enrichment.circuit_breaker import CircuitBreaker
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
    from schemas.ledger_ports import LeaseResult
    from schemas.ports import Clock, Source, SourceVerdict

log = structlog.get_logger()

MAX_ATTEMPTS = 4
"""Times that one request is sent while the source only asks to slow down."""
MAX_RECONNECTS = 2
"""Times that a request is sent again that never reached the source."""
LEASE_RELEASE_TIMEOUT_SECONDS = 2.0
"""Seconds for giving claims back while being stopped; else they end by themselves."""
BATCHES_OFF_SECONDS = (60.0, 300.0, 3_600.0)
"""Seconds for which addresses are asked one by one after a refused batch: the first time, the
second in a row, and each time after that."""
KEY_DOUBT_SECONDS, KEY_DOUBT_PAUSE_SECONDS, KEY_REFUSED_PAUSE_SECONDS = 120.0, 10.0, 600.0
"""Seconds for which a refused key is in doubt, and between two tries then and later."""
QUOTA_PAUSE_SECONDS = 3_600.0
"""Seconds between two probes of a source that says that our lookups are used up."""
MAX_POSTPONED_SECONDS = 6 * 3_600.0
MAX_REMEMBERED_FAILURES = 50_000
"""Addresses of failed requests that are remembered."""
POSTPONED_SECONDS = {"event": 6 * 3_600.0, "wall": 15.0}
"""Seconds, by our clock, before an address is asked again whose question may have counted: in a
service when the source has been found well again, but not within the same replay. Four times as
long with each failure of an address while others are answered: it may be the cause."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Seconds for which a verdict is believed, by its kind."""

    malicious: float
    suspicious: float
    benign: float
    unknown: float

    def of(self, reputation: Reputation) -> float:
        """Return the lifetime of a verdict."""
        lifetime: float = getattr(self, reputation.value)
        return lifetime


@dataclass(slots=True)
class LookupCounts:
    """What asking has cost so far."""

    lookups: int = 0
    requests: int = 0


class Leases(Protocol):
    """The part of the ledger by which instances agree on who asks."""

    async def acquire(self, addresses: Sequence[str], seconds: float) -> LeaseResult:
        """See :class:`schemas.ledger_ports.Ledger`."""

    async def release(self, addresses: Sequence[str]) -> None:
        """See :class:`schemas.ledger_ports.Ledger`."""


@dataclass(frozen=True, slots=True)
class AddressLease:
    """Asking side by side with other instances."""

    ledger: Leases
    lease: float
    """Seconds for which a claim holds: longer than any request lasts."""


@dataclass(slots=True)
class LookupResult:
    """What became of a batch: answers, and addresses to be asked again, one at a time."""

    verdicts: dict[str, Answer] = field(default_factory=dict)
    resolved: dict[str, Answer] = field(default_factory=dict)
    """Answers that the ledger had already, by the work of another instance or process."""
    retry_individually: list[str] = field(default_factory=list)


class PaidLookup:
    """Asks a source within the budget.

    Where several instances share a ledger, *shared* makes an address be asked by one of them.
    *degrade* makes a refused key a reason why addresses are unanswered; else KeyRefused is raised.
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
        self._clock = clock
        self._lifetimes = lifetimes
        self._health = health
        self._shared = lease
        self._degrade = degrade
        self._monotonic = monotonic
        self._singly_until = -math.inf
        self._batches_refused = 0
        self._single_untold = False
        self._refused_since: float | None = None
        self._failed: dict[str, tuple[int, int]] = {}
        """Failures of an address, and the requests answered until the last one."""
        self._worked = 0
        self.paused_because = WhyUnanswered.SOURCE_DOWN
        """Why the source is left alone, while it is."""

    @property
    def batch_size(self) -> int:
        """Addresses that the next request may ask of."""
        if self.breaker.probing or self._monotonic() < self._singly_until:
            return 1
        return self.source.batch_size

    def use_key(self, key: str) -> None:
        """Go on with another key, at once. Its quota is an account of its own."""
        self.source.use_key(key)
        self.budget.use_key(key)
        self._singly_until, self._batches_refused = -math.inf, 0
        self._single_untold = False
        self._refused_since = None
        self.breaker.allow_probe()

    async def may_look_up(self) -> bool:
        """Tell whether a question could be asked now: the source is up and lookups are left."""
        return not self.breaker.is_open and await self.budget.open()

    async def look_up(self, addresses: Sequence[str]) -> LookupResult:
        """Ask about *addresses*, as far as others do not ask and the budget allows."""
        if self.breaker.is_open:
            return LookupResult(self._unanswered(addresses, self.paused_because))
        if not await self.budget.open():
            self._health.report(Problem.QUOTA_SPENT, _QUOTA_SPENT_TEXT, part=self.source.name)
            return LookupResult(self._unanswered(addresses, WhyUnanswered.QUOTA))
        if self._shared is None:
            return await self._ask_carefully(addresses)
        claimed = await self._shared.ledger.acquire(addresses, self._shared.lease)
        asked = LookupResult()
        if claimed.acquired:
            try:
                asked = await self._ask_carefully(
                    [one for one in addresses if one in claimed.acquired]
                )
            except asyncio.CancelledError:
                async with asyncio.timeout(LEASE_RELEASE_TIMEOUT_SECONDS):
                    await self._shared.ledger.release(list(claimed.acquired))
                raise
            kept = {one for one, answer in asked.verdicts.items() if answer.expires > 0}
            if gone := [one for one in claimed.acquired if one not in kept]:
                await self._shared.ledger.release(gone)
        asked.resolved = claimed.resolved
        told = claimed.acquired | claimed.resolved.keys()
        others = [one for one in addresses if one not in told]
        asked.verdicts |= self._unanswered(others, WhyUnanswered.ASKED_ELSEWHERE)
        return asked

    async def _ask_carefully(self, addresses: Sequence[str]) -> LookupResult:
        """Ask about addresses whose batch failed before one by one: one may have been the cause."""
        alone = [one for one in addresses if one in self._failed]
        if not alone:
            return await self._ask_claimed(addresses)
        fresh = [one for one in addresses if one not in self._failed]
        asked = await self._ask_claimed(fresh) if fresh else LookupResult()
        for one in alone:
            if self.breaker.is_open:
                asked.verdicts |= self._unanswered([one], self.paused_because)
                continue
            answered = await self._ask_claimed([one])
            asked.verdicts |= answered.verdicts
            asked.retry_individually += answered.retry_individually
        return asked

    async def _ask_claimed(self, addresses: Sequence[str]) -> LookupResult:
        reservation = await self.budget.reserve(len(addresses))
        allowed, refused = addresses[: reservation.lookups], addresses[reservation.lookups :]
        if await self.budget.open():
            self._health.resolve(Problem.QUOTA_SPENT, part=self.source.name)
            why = WhyUnanswered.NOT_YET
        else:
            self._health.report(Problem.QUOTA_SPENT, _QUOTA_SPENT_TEXT, part=self.source.name)
            why = WhyUnanswered.QUOTA
        asked = LookupResult(self._unanswered(refused, why))
        if not allowed:
            return asked
        try:
            said = await self._request(allowed)
        except KeyRefused as error:
            await self.budget.refund(reservation)
            asked.verdicts |= self._without_key(error, allowed)
            return asked
        except SourceFailed as error:
            await self._after(error, allowed, reservation, asked)
            return asked
        self.breaker.record_success()
        self._worked += 1
        self._refused_since = None
        if len(allowed) > 1:
            self._batches_refused = 0
        self._tell_well()
        for one in said:
            self._failed.pop(one, None)
        self.counts.lookups += len(said)
        asked.verdicts |= self._verdicts(said)
        return asked

    async def _request(self, addresses: Sequence[str]) -> dict[str, SourceVerdict]:
        """Ask once, and again only while the request surely does not count."""
        tries = 0

        def again(error: Exception) -> bool | float:
            nonlocal tries
            tries += 1
            if isinstance(error, TooFast):
                self.breaker.slow_down()
                return True if error.retry_after is None else error.retry_after
            lost = isinstance(error, SourceUnavailable) and not error.counted
            return lost and tries <= MAX_RECONNECTS

        async for attempt in stamina.retry_context(
            on=again, attempts=MAX_ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=30.0
        ):
            with attempt:
                if tries and self._shared is not None:
                    await self._shared.ledger.acquire(addresses, self._shared.lease)
                self.counts.requests += 1
                return await self.source.look_up(addresses)
        raise AssertionError("unreachable")  # pragma: no cover

    def _without_key(self, error: KeyRefused, addresses: Sequence[str]) -> dict[str, Answer]:
        if not self._degrade:
            raise error
        now = self._monotonic()
        if self._refused_since is None:
            self._refused_since = now
        in_doubt = now - self._refused_since < KEY_DOUBT_SECONDS
        self.breaker.start_over()
        self.breaker.open(KEY_DOUBT_PAUSE_SECONDS if in_doubt else KEY_REFUSED_PAUSE_SECONDS)
        self.paused_because = WhyUnanswered.KEY_REFUSED
        self._health.report(Problem.KEY_REFUSED, str(error), part=self.source.name)
        return self._unanswered(addresses, WhyUnanswered.KEY_REFUSED)

    async def _after(
        self,
        error: SourceFailed,
        addresses: Sequence[str],
        reservation: Reservation,
        asked: LookupResult,
    ) -> None:
        """Note what a failure means for the addresses that were asked."""
        if error.counted:
            self.counts.lookups += len(addresses)
        else:
            await self.budget.refund(reservation)
        if isinstance(error, BatchRefused):
            asked.retry_individually = list(addresses)
            self._ask_singly()
            return
        if isinstance(error, QuotaSpent):
            self._health.report(Problem.QUOTA_SPENT, str(error), part=self.source.name)
            await self._wait_for_quota()
            asked.verdicts |= self._unanswered(addresses, WhyUnanswered.QUOTA)
            return
        self.breaker.record_failure(surely=isinstance(error, TooFast))
        self.paused_because = WhyUnanswered.SOURCE_DOWN
        if self.breaker.probing:
            self._health.report(Problem.SOURCE_DOWN, str(error), part=self.source.name)
        for address in addresses:
            postponed = self._clock.now() + self._postponement(address) if error.counted else 0.0
            asked.verdicts |= self._unanswered([address], WhyUnanswered.SOURCE_DOWN, postponed)

    def _postponement(self, address: str) -> float:
        """Return the seconds before an address is asked again.

        Longer with each failure of it, but all failures of one outage are the source's.
        """
        if len(self._failed) >= MAX_REMEMBERED_FAILURES:
            self._failed.clear()
        failures, worked = self._failed.get(address, (0, -1))
        failures += worked != self._worked
        self._failed[address] = failures, self._worked
        seconds = POSTPONED_SECONDS[self._clock.kind] * float(4 ** min(failures - 1, 8))
        return min(seconds, MAX_POSTPONED_SECONDS)

    async def _wait_for_quota(self) -> None:
        """Leave the source alone: for the rest of the period; in a service probe it now and then.

        A refusal for quota costs nothing, and the source's period may not be ours.
        """
        if self._clock.kind == "event":
            await self.budget.exhaust()
        else:
            self.breaker.open(QUOTA_PAUSE_SECONDS)
            self.paused_because = WhyUnanswered.QUOTA

    def _ask_singly(self) -> None:
        """Ask one by one for a while: the first single answer decides whether the key is good."""
        now = self._monotonic()
        if now < self._singly_until:
            return  # another batch that was under way
        self.breaker.start_over()
        pause = BATCHES_OFF_SECONDS[min(self._batches_refused, len(BATCHES_OFF_SECONDS) - 1)]
        self._batches_refused += 1
        self._singly_until = now + pause
        self._single_untold = True

    def _tell_well(self) -> None:
        for trouble in (Problem.SOURCE_DOWN, Problem.KEY_REFUSED):
            self._health.resolve(trouble, part=self.source.name)
        if self._single_untold:
            self._single_untold = False
            log.warning(
                "asking one address at a time",
                source=self.source.name,
                why="a batch was refused; the key's plan may not allow them",
                seconds=BATCHES_OFF_SECONDS[
                    min(self._batches_refused, len(BATCHES_OFF_SECONDS)) - 1
                ],
            )

    def _verdicts(self, said: Mapping[str, SourceVerdict]) -> dict[str, Verdict]:
        """Give each word a lifetime. Addresses of which the same was said share one verdict."""
        now = self._clock.now()
        shared: dict[int, Verdict] = {}
        verdicts = {}
        for address, one in said.items():
            verdict = shared.get(id(one))
            if verdict is None:
                verdict = shared[id(one)] = self._verdict(one, now)
            verdicts[address] = verdict
        return verdicts

    def _verdict(self, said: SourceVerdict, now: float) -> Verdict:
        return Verdict(
            reputation=said.reputation,
            source=self.source.name,
            time=now,
            expires=now + self._lifetimes.of(said.reputation),
            address_class=said.address_class,
            intel=said.intel,
        )

    @staticmethod
    def _unanswered(
        addresses: Sequence[str], why: WhyUnanswered, expires: float = 0.0
    ) -> dict[str, Answer]:
        return dict.fromkeys(addresses, Unanswered(why=why, expires=expires))


_QUOTA_SPENT_TEXT = (
    "the period's lookups are used up; a wider plan, or CROWDSEC__MONTHLY_QUOTA, mends it"
)
