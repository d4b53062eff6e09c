"""The lookup budget: a monthly quota, and the pace at which it may be spent.

Lookups are reserved in the ledger before they are made. The pace is a straight line: it starts at
one day's share, which may be spent at once, and reaches the whole quota at the end of the period.
Unspent lookups stay available. The pace follows from the ledger's count, so all instances share it.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from consumers.coalesce import Coalescer
from schemas.durations import DAY_SECONDS, HOUR_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock

PERIOD_DAYS = 30
SHARE_DEMAND_SECONDS = 60.0
"""Seconds between two additions of new addresses to the numbers that all instances share."""
_FIRST_RECORD = "first record"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Lookups reserved from a period."""

    period: str
    lookups: int


@dataclass(frozen=True, slots=True)
class Pacing:
    """The line along which a period's quota may be spent. Times in seconds since the epoch."""

    began: float
    """When spending in this period began."""
    base: int
    """Lookups that had been spent by then."""
    ends: float

    def allowed_by(self, timestamp: float, quota: int) -> int:
        """Return how many lookups of the period may be spent by *timestamp*."""
        share = min(quota - self.base, max(1, quota / PERIOD_DAYS))
        passed = (timestamp - self.began) / max(DAY_SECONDS, self.ends - self.began)
        spread = (quota - self.base - share) * min(1.0, max(0.0, passed))
        return max(0, math.floor(self.base + share + spread + 1e-9))


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """How far the quota of a period is used."""

    period: str
    quota: int
    spent: int
    allowed: int | None
    """Lookups that the pace allows by now; None before the first lookup and without a pace."""
    ends: float
    """End of the period, in seconds since the epoch."""

    @property
    def left(self) -> int:
        """The lookups left in the period."""
        return max(0, self.quota - self.spent)


def _account(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


class Budget:
    """Lookup budget of one API key in the current period.

    In wall time, a period starts at midnight UTC on the reset day of each month. In event time, a
    period is 30 days long, counted from the first record that the ledger has seen. Older records
    belong to the first period.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        *,
        key: str,
        quota: int,
        reset_day: int,
        paced: bool = True,
    ) -> None:
        """If *paced* is false, the whole quota may be spent at once (manual lookups)."""
        self._ledger = ledger
        self._clock = clock
        self._account = _account(key)
        self._quota = quota
        self._reset_day = reset_day
        self._spent_period: str | None = None
        self.period = ""
        """The period of the last reservation."""
        self._first: float | None = None
        self._paced = paced
        self._pace: tuple[str, Pacing] | None = None
        self._spent = 0
        self._demand = 0
        """New addresses of the last 24 hours, of all instances."""
        self._new_demand: dict[int, int] = {}
        """New addresses by hour that are not shared yet."""
        self._demand_shared: float | None = None
        self._reserving: Coalescer[int, Reservation] = Coalescer(self._reserve)

    @property
    def share(self) -> int:
        """Return one day's share of the quota."""
        return max(1, self._quota // PERIOD_DAYS)

    def use_key(self, key: str) -> None:
        """Switch to another API key."""
        self._account = _account(key)
        self._spent_period = None
        self._pace = None

    async def reserve_extra(self, counter: str, share: float) -> bool:
        """Count one more lookup of a kind; False if *share* of the quota is spent on that kind."""
        most = int(self._quota * share)
        return bool(await self._ledger.reserve(counter, await self._period(), 1, most))

    async def begin(self) -> None:
        """Start the first period now, unless it has started."""
        await self._period()

    async def reserve(self, wanted: int) -> Reservation:
        """Durably reserve up to *wanted* lookups; first come, first served."""
        return await self._reserving.submit(wanted)

    async def _reserve(self, wanted: Sequence[int]) -> list[Reservation]:
        period = self.period = await self._period()
        left = 0
        if period != self._spent_period:
            limit = await self._spendable(period)
            left = await self._ledger.reserve(self._account, period, sum(wanted), limit)
            self._spent += left
            if left < sum(wanted) and limit >= self._quota:
                self._spent_period = period
        reservations = []
        for count in wanted:
            reservations.append(Reservation(period, min(count, left)))
            left -= reservations[-1].lookups
        return reservations

    async def allowance(self) -> int:
        """Return the number of lookups that may be made now, by the last known count."""
        period = await self._period()
        if period == self._spent_period:
            return 0
        return max(0, await self._spendable(period) - self._spent)

    def record_demand(self, addresses: int) -> None:
        """Count new addresses, each of which would need a lookup."""
        if addresses:
            hour = int(self._clock.now() // HOUR_SECONDS)
            self._new_demand[hour] = self._new_demand.get(hour, 0) + addresses

    async def share_demand(self) -> None:
        """Add this instance's new addresses to those of all, and learn the sum."""
        now = self._clock.now()
        due = SHARE_DEMAND_SECONDS if self._new_demand else HOUR_SECONDS
        if self._demand_shared is not None and 0 <= now - self._demand_shared < due:
            return
        self._demand_shared = now
        new, self._new_demand = self._new_demand, {}
        self._demand = await self._ledger.count_demand(self._account, new)

    async def can_afford_demand(self) -> bool:
        """Return True if the rest of the period's quota covers a day like the last, each day."""
        a_day = self._demand + sum(self._new_demand.values())
        period = await self._period()
        if not self._paced:
            return True
        await self._spendable(period)
        days = max(0.0, self._end() - self._clock.now()) / DAY_SECONDS
        return a_day * days <= self._quota - self._spent

    @property
    def left(self) -> int:
        """Return the lookups left in the period, by the last known count."""
        return max(0, self._quota - self._spent)

    async def look(self) -> None:
        """Refresh the count of spent lookups from the ledger."""
        self._spent = await self._ledger.spent(self._account, await self._period())

    async def is_new(self) -> bool:
        """Return True if at most half a day of records was seen: too little to forecast demand."""
        await self._period()
        return self._clock.now() - (self._first or 0.0) <= DAY_SECONDS / 2

    @property
    def is_paced(self) -> bool:
        """Whether spending is paced."""
        return self._paced

    def spend_remaining(self) -> None:
        """Stop pacing: allow the rest of the quota to be spent at once."""
        self._paced = False

    async def _spendable(self, period: str) -> int:
        """Return how many lookups of the period may be spent by now."""
        if not self._paced:
            return self._quota
        if self._pace is None or self._pace[0] != period:
            self._pace = period, await self._pacing_of(period)
        return min(self._quota, self._pace[1].allowed_by(self._clock.now(), self._quota))

    async def _pacing_of(self, period: str) -> Pacing:
        """Return the pacing of a period; the first call of any instance starts it."""
        name = f"pace {self._account} {period}"
        self._spent = await self._ledger.spent(self._account, period)
        stored = await self._ledger.get_value(name)
        if stored is None:
            stored = f"{self._clock.now()!r} {self._spent}"
            await self._ledger.put_value(name, stored)
        began, _, base = stored.partition(" ")
        return Pacing(float(began), int(base), self._end())

    async def refund(self, reservation: Reservation) -> None:
        """Return lookups that definitely did not count against the quota."""
        await self._ledger.refund(self._account, reservation.period, reservation.lookups)
        self._spent = max(0, self._spent - reservation.lookups)
        if reservation.period == self._spent_period and reservation.lookups:
            self._spent_period = None

    async def exhaust(self) -> None:
        """Mark the rest of the period as spent: the service reports that nothing is left."""
        period = await self._period()
        await self._ledger.reserve(self._account, period, self._quota, self._quota)
        self._spent_period = period

    async def open(self) -> bool:
        """Return True if another lookup may be made in this period."""
        return await self._period() != self._spent_period and self._quota > 0

    async def remaining(self) -> int:
        """Return the lookups left in the period."""
        return max(0, self._quota - await self._ledger.spent(self._account, await self._period()))

    async def status(self) -> QuotaStatus:
        """Return how far the current period's quota is used; starts no pace."""
        period = await self._period()
        spent = await self._ledger.spent(self._account, period)
        started = self._paced and self._pace is not None and self._pace[0] == period
        allowed = await self._spendable(period) if started else None
        return QuotaStatus(period, self._quota, spent, allowed, self._end())

    async def _period(self) -> str:
        now = self._clock.now()
        if self._first is None:
            self._first = await self._first_record(now)
        if self._clock.mode.by_events:
            return f"period {self._number(now)}"
        return f"{reset_before(now, self._reset_day):%Y-%m-%d}"

    def _number(self, now: float) -> int:
        return max(0, int((now - (self._first or 0.0)) // (PERIOD_DAYS * DAY_SECONDS)))

    def _end(self) -> float:
        """Return the end of the current period, in seconds since the epoch."""
        now = self._clock.now()
        if self._clock.mode.by_events:
            return (self._first or 0.0) + (self._number(now) + 1) * PERIOD_DAYS * DAY_SECONDS
        began = reset_before(now, self._reset_day).timestamp()
        return reset_before(began + 40 * DAY_SECONDS, self._reset_day).timestamp()

    async def _first_record(self, now: float) -> float:
        stored = await self._ledger.get_value(_FIRST_RECORD)
        if stored is None:
            await self._ledger.put_value(_FIRST_RECORD, repr(now))
            return now
        return float(stored)


def reset_before(now: float, reset_day: int) -> datetime:
    """Return when the monthly period of a key began that resets on a day of the month."""
    today = datetime.fromtimestamp(now, UTC)
    year, month = today.year, today.month
    if today.day < reset_day:
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return datetime(year, month, reset_day, tzinfo=UTC)
