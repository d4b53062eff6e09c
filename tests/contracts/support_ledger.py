"""What the suites of ledgers share: a clock, a watch, answers, sign-ins, and opened ledgers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from consumers.ledger.table.client import StateTable
from consumers.ledger.table.ledger import TableLedger
from schemas.events.outcomes import Outcome
from schemas.events.sign_in import Details
from schemas.intel.verdicts import Intel, Reputation, Verdict
from schemas.ledger_ports import Ledger, PendingSignIn
from schemas.run_mode import LIVE

if TYPE_CHECKING:
    from schemas.health import Problem

Open = Callable[[], Awaitable[Ledger]]
"""Opens the same ledger again."""
A, B, C = "81.2.69.160", "2a02:8108::5", "93.184.216.34"
LIMIT = 5


class Clock:
    """A clock that a test sets."""

    mode = LIVE

    def __init__(self) -> None:
        self.time = 1_000.0

    def now(self) -> float:
        """Return what was set."""
        return self.time


class Told:
    """A watch that keeps what it is told."""

    def __init__(self) -> None:
        self.troubles: set[Problem] = set()
        self.details: list[str] = []
        self._changed = asyncio.Event()

    def report(self, what: Problem, detail: str, *, part: str = "") -> None:
        """Keep it."""
        assert part == ""
        self.troubles.add(what)
        self.details.append(detail)
        self._changed.set()

    def resolve(self, what: Problem, *, part: str = "") -> None:
        """Forget it."""
        assert part == ""
        self.troubles.discard(what)
        self._changed.set()

    async def until(self, *troubles: Problem) -> None:
        """Wait until exactly these are told and not ended."""
        async with asyncio.timeout(30):
            while self.troubles != set(troubles):
                self._changed.clear()
                await self._changed.wait()


def table_store(
    connection_string: str,
    table: str,
    clock: Clock,
    *,
    health: Told | None = None,
    instance: str = "one",
    waiting_per_address: int = LIMIT,
) -> TableLedger:
    """Return a store that is not opened yet."""
    at = StateTable.at(table, health or Told(), connection_string=connection_string)
    return TableLedger(at, clock, waiting_per_address=waiting_per_address, instance=instance)


@asynccontextmanager
async def instances(
    connection_string: str,
    clock: Clock,
    number: int = 1,
    *,
    table: str | None = None,
    health: Told | None = None,
    waiting_per_address: int = LIMIT,
) -> AsyncIterator[list[TableLedger]]:
    """Open one table by several instances, which know nothing of each other."""
    name = table or f"t{uuid4().hex}"
    stores = [
        table_store(
            connection_string,
            name,
            clock,
            health=health,
            instance=f"instance {n}",
            waiting_per_address=waiting_per_address,
        )
        for n in range(number)
    ]
    try:
        await asyncio.gather(*(store.open() for store in stores))
        yield stores
    finally:
        for store in stores:
            await store.close()


def verdict(expires: float = 2_000.0, reputation: Reputation = Reputation.MALICIOUS) -> Verdict:
    """Return a verdict with something in it."""
    intel = Intel(raw_reputation="malicious", scores={"overall": {"total": 4}}, cves=("CVE-1",))
    return Verdict(
        reputation=reputation, source="crowdsec", time=1_000.0, expires=expires, intel=intel
    )


def waiting(
    key: str,
    address: str = A,
    outcome: Outcome = Outcome.FAILURE,
    parked: float = 1_000.0,
    account: str = "ada@example.net",
    own: float | None = None,
    place: float = 0.0,
) -> PendingSignIn:
    """Return a sign-in that waits."""
    details = Details(
        table="SigninLogs",
        event_id=key,
        event_time=datetime(2026, 3, 2, tzinfo=UTC),
        addresses=((address, address),),
        account=account,
        outcome=outcome,
        device_compliant=False,
    )
    if own is None:
        own = 60.0 if outcome is Outcome.SUCCESS else 0.0
    return PendingSignIn(key, address, details, parked, own, place, (("because", own),))
