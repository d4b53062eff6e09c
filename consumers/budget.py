"""The budget: the lookups that a month allows, taken from the ledger before they are made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from consumers.together import Together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.ports import Clock, Ledger

PERIOD_DAYS = 30
_FIRST_RECORD = "first record"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Lookups taken from a period."""

    period: str
    lookups: int


def _account(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


class Budget:
    """Lookups of one key in the running period.

    By wall time a period starts on the reset day of each month, at midnight UTC. By event time it
    is 30 days long, counted from the first record that the ledger has met; what is older than that
    belongs to the first period.
    """

    def __init__(
        self, ledger: Ledger, clock: Clock, *, key: str, quota: int, reset_day: int
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._account = _account(key)
        self._quota = quota
        self._reset_day = reset_day
        self._spent_period: str | None = None
        self._first: float | None = None
        self._reserving: Together[int, Reservation] = Together(self._reserve)

    def use_key(self, key: str) -> None:
        """Go on with another key."""
        self._account = _account(key)
        self._spent_period = None

    async def begin(self) -> None:
        """Let the first period begin now, if none has begun yet."""
        await self._period()

    async def reserve(self, wanted: int) -> Reservation:
        """Take up to *wanted* lookups, durably; who asks first gets first."""
        return await self._reserving.join(wanted)

    async def _reserve(self, wanted: Sequence[int]) -> list[Reservation]:
        period = await self._period()
        left = 0
        if period != self._spent_period:
            left = await self._ledger.reserve(self._account, period, sum(wanted), self._quota)
            if left < sum(wanted):
                self._spent_period = period
        reservations = []
        for one in wanted:
            reservations.append(Reservation(period, min(one, left)))
            left -= reservations[-1].lookups
        return reservations

    async def refund(self, reservation: Reservation) -> None:
        """Give back lookups that surely did not count."""
        await self._ledger.refund(self._account, reservation.period, reservation.lookups)
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

    async def left(self) -> int:
        """Return the lookups left in the period."""
        return max(0, self._quota - await self._ledger.spent(self._account, await self._period()))

    async def standing(self) -> tuple[str, int]:
        """Return the running period and the lookups left in it."""
        return await self._period(), await self.left()

    async def _period(self) -> str:
        now = self._clock.now()
        if self._clock.kind == "wall":
            moment = datetime.fromtimestamp(now, UTC)
            year, month = moment.year, moment.month
            if moment.day < self._reset_day:
                year, month = (year, month - 1) if month > 1 else (year - 1, 12)
            return f"{year:04}-{month:02}-{self._reset_day:02}"
        if self._first is None:
            self._first = await self._first_record(now)
        periods = (now - self._first) // (PERIOD_DAYS * 86_400)
        return f"period {max(0, int(periods))}"

    async def _first_record(self, now: float) -> float:
        told = await self._ledger.note(_FIRST_RECORD)
        if told is None:
            await self._ledger.leave_note(_FIRST_RECORD, repr(now))
            return now
        return float(told)
