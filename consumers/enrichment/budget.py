"""The budget: the lookups that a month allows, and the pace at which they may go.

Lookups are taken from the ledger before they are made. The pace is a line from one day's share,
which may be spent at once, to the whole quota at the end of the period: what stays unspent may be
spent later. It follows from the ledger's own count, so all instances keep it together.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from consumers.coalesce import Coalescer
from schemas.durations import DAY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock

PERIOD_DAYS = 30
_FIRST_RECORD = "first record"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Lookups taken from a period."""

    period: str
    lookups: int


@dataclass(frozen=True, slots=True)
class Pacing:
    """The line along which a period's lookups may be spent. Times in seconds since the epoch."""

    began: float
    """When we began to spend in this period."""
    base: int
    """What was spent by then."""
    ends: float

    def allowed_by(self, moment: float, quota: int) -> int:
        """Return how many lookups of the period may be spent by *moment*."""
        share = min(quota - self.base, max(1, quota / PERIOD_DAYS))
        passed = (moment - self.began) / max(DAY_SECONDS, self.ends - self.began)
        spread = (quota - self.base - share) * min(1.0, max(0.0, passed))
        return max(0, math.floor(self.base + share + spread + 1e-9))


def _account(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


class Budget:
    """Lookups of one key in the running period.

    By wall time a period starts on the reset day of each month, at midnight UTC. By event time it
    is 30 days long, counted from the first record that the ledger has met; what is older than that
    belongs to the first period.
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
        """Without *paced* the whole quota may go at once: a person asks."""
        self._ledger = ledger
        self._clock = clock
        self._account = _account(key)
        self._quota = quota
        self._reset_day = reset_day
        self._spent_period: str | None = None
        self._first: float | None = None
        self._paced = paced
        self._pace: tuple[str, Pacing] | None = None
        self._spent = 0
        self._reserving: Coalescer[int, Reservation] = Coalescer(self._reserve)

    @property
    def share(self) -> int:
        """Return one day's share of the quota."""
        return max(1, self._quota // PERIOD_DAYS)

    def use_key(self, key: str) -> None:
        """Go on with another key."""
        self._account = _account(key)
        self._spent_period = None
        self._pace = None

    async def begin(self) -> None:
        """Let the first period begin now, if none has begun yet."""
        await self._period()

    async def reserve(self, wanted: int) -> Reservation:
        """Take up to *wanted* lookups, durably; who asks first gets first."""
        return await self._reserving.submit(wanted)

    async def _reserve(self, wanted: Sequence[int]) -> list[Reservation]:
        period = await self._period()
        left = 0
        if period != self._spent_period:
            most = await self._most(period)
            left = await self._ledger.reserve(self._account, period, sum(wanted), most)
            self._spent += left
            if left < sum(wanted) and most >= self._quota:
                self._spent_period = period
        reservations = []
        for one in wanted:
            reservations.append(Reservation(period, min(one, left)))
            left -= reservations[-1].lookups
        return reservations

    async def allowance(self) -> int:
        """Return the lookups that may be made now, as far as we know."""
        period = await self._period()
        if period == self._spent_period:
            return 0
        return max(0, await self._most(period) - self._spent)

    async def can_afford(self, a_day: float) -> bool:
        """Tell whether what is left of the period pays for so many lookups a day."""
        period = await self._period()
        if not self._paced:
            return True
        await self._most(period)
        days = max(0.0, self._end() - self._clock.now()) / DAY_SECONDS
        return a_day * days <= self._quota - self._spent

    async def look(self) -> None:
        """Learn from the ledger what others have spent."""
        self._spent = await self._ledger.spent(self._account, await self._period())

    async def is_new(self) -> bool:
        """Tell whether half a day of records or less was met: too little to tell what comes."""
        await self._period()
        return self._clock.now() - (self._first or 0.0) <= DAY_SECONDS / 2

    @property
    def is_paced(self) -> bool:
        """Whether there is a pace to be kept."""
        return self._paced

    def spend_remaining(self) -> None:
        """Let what is left of the quota go at once."""
        self._paced = False

    async def _most(self, period: str) -> int:
        """Return how many lookups of the period may be spent by now."""
        if not self._paced:
            return self._quota
        if self._pace is None or self._pace[0] != period:
            self._pace = period, await self._begun(period)
        return min(self._quota, self._pace[1].allowed_by(self._clock.now(), self._quota))

    async def _begun(self, period: str) -> Pacing:
        """Return the pace of a period, which begins when anybody first asks for it."""
        name = f"pace {self._account} {period}"
        self._spent = await self._ledger.spent(self._account, period)
        told = await self._ledger.get_value(name)
        if told is None:
            told = f"{self._clock.now()!r} {self._spent}"
            await self._ledger.put_value(name, told)
        began, _, base = told.partition(" ")
        return Pacing(float(began), int(base), self._end())

    async def refund(self, reservation: Reservation) -> None:
        """Give back lookups that surely did not count."""
        await self._ledger.refund(self._account, reservation.period, reservation.lookups)
        self._spent = max(0, self._spent - reservation.lookups)
        if reservation.period == self._spent_period and reservation.lookups:
            self._spent_period = None

    async def exhaust(self) -> None:
        """Spend the rest of the period: the service says that nothing is left."""
        period = await self._period()
        await self._ledger.reserve(self._account, period, self._quota, self._quota)
        self._spent_period = period

    async def open(self) -> bool:
        """Tell whether another lookup may be had in this period."""
        return await self._period() != self._spent_period and self._quota > 0

    async def remaining(self) -> int:
        """Return the lookups left in the period."""
        return max(0, self._quota - await self._ledger.spent(self._account, await self._period()))

    async def status(self) -> tuple[str, int]:
        """Return the running period and the lookups left in it."""
        return await self._period(), await self.remaining()

    async def _period(self) -> str:
        now = self._clock.now()
        if self._first is None:
            self._first = await self._first_record(now)
        if self._clock.kind == "wall":
            return f"{self._reset_before(now):%Y-%m-%d}"
        return f"period {self._number(now)}"

    def _number(self, now: float) -> int:
        return max(0, int((now - (self._first or 0.0)) // (PERIOD_DAYS * DAY_SECONDS)))

    def _reset_before(self, now: float) -> datetime:
        moment = datetime.fromtimestamp(now, UTC)
        year, month = moment.year, moment.month
        if moment.day < self._reset_day:
            year, month = (year, month - 1) if month > 1 else (year - 1, 12)
        return datetime(year, month, self._reset_day, tzinfo=UTC)

    def _end(self) -> float:
        """Return when the running period ends."""
        now = self._clock.now()
        if self._clock.kind == "event":
            return (self._first or 0.0) + (self._number(now) + 1) * PERIOD_DAYS * DAY_SECONDS
        return self._reset_before(
            self._reset_before(now).timestamp() + 40 * DAY_SECONDS
        ).timestamp()

    async def _first_record(self, now: float) -> float:
        told = await self._ledger.get_value(_FIRST_RECORD)
        if told is None:
            await self._ledger.put_value(_FIRST_RECORD, repr(now))
            return now
        return float(told)
