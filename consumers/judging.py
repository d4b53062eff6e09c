"""Judging sign-ins whose address is answered, and passing on what is found."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.held import Held
    from consumers.history import History
    from consumers.judge import Judge
    from consumers.outbox import Outbox
    from consumers.tickets import Ticket
    from schemas.findings import Row
    from schemas.ports import Clock, Ledger
    from schemas.records import Details
    from schemas.verdicts import Verdict

AT_ONCE = 500
"""Waiting sign-ins that are judged at once."""


class Judging:
    """Hands sign-ins to the judge, and its findings to the outbox."""

    def __init__(
        self, judge: Judge, history: History, outbox: Outbox, ledger: Ledger, clock: Clock
    ) -> None:
        self._judge = judge
        self._history = history
        self._outbox = outbox
        self._ledger = ledger
        self._clock = clock
        self._folded: list[Ticket] = []

    @property
    def folding(self) -> bool:
        """Tell whether batches wait for a row that counts what was folded."""
        return bool(self._folded)

    async def held(
        self, address: str, held: Sequence[Held], verdict: Verdict, tickets: Sequence[Ticket]
    ) -> None:
        """Judge sign-ins that are held for an address; *tickets* wait for what is found."""
        if not held or self._judge.harmless(verdict):
            return
        await self._history.fetch_bad([address])
        now, wall = self._clock.now(), datetime.now(UTC)
        rows, moments, folds = [], [], self._judge.folds
        for signin, enqueued, _ in held:
            details = signin.details(enqueued=enqueued, fallback_time=moment_of(now, wall))
            row = self._judged(details, address, verdict, wall=wall, now=now)
            if row is not None:
                rows.append(row)
                moments.append(enqueued.timestamp() if enqueued else None)
        if self._judge.folds > folds:
            for ticket in tickets:
                ticket.hold()  # until the row is told that counts what was folded
                self._folded.append(ticket)
        await self._outbox.add(rows, enqueued=moments, tickets=tickets)

    async def waiting(self, answered: Mapping[str, Verdict]) -> dict[str, int]:
        """Judge what waits in the ledger for answered addresses; let go of it, and return how much.

        Of each address, that is.
        """
        harmless = [one for one, verdict in answered.items() if self._judge.harmless(verdict)]
        settled = await self._ledger.settle_addresses(harmless) if harmless else {}
        for address, verdict in answered.items():
            if address not in harmless:
                settled[address] = await self._waiting(address, verdict)
        return settled

    async def _waiting(self, address: str, verdict: Verdict) -> int:
        settled = 0
        while waiting := await self._ledger.waiting_for(address, AT_ONCE):
            now, wall = self._clock.now(), datetime.now(UTC)
            rows, folds = [], self._judge.folds
            await self._history.fetch_bad([address])
            for one in waiting:
                row = self._judged(one.details, address, verdict, wall=wall, now=now, late=True)
                if row is not None:
                    rows.append(row)
            await self._outbox.add(rows)
            if self._judge.folds > folds:
                await self.tell_folded(None)
            await self._outbox.flush()  # also what was found of them before they waited
            await self._ledger.settle(waiting)
            settled += len(waiting)
        return settled

    def _judged(
        self,
        details: Details,
        address: str,
        verdict: Verdict,
        *,
        wall: datetime,
        now: float,
        late: bool = False,
    ) -> Row | None:
        accounts = self._history.accounts_from(
            address, details.account, details.event_time.timestamp()
        )
        return self._judge.judge(
            details, address, verdict, wall=wall, now=now, accounts=accounts, late=late
        )

    async def tell_folded(self, before: float | None) -> None:
        """Tell the rows that count what was folded in hours that ended *before*; all for None."""
        tickets: list[Ticket] = []
        if before is None:
            tickets, self._folded = self._folded, []
        await self._outbox.add(self._judge.folded(before, datetime.now(UTC)), tickets=tickets)
        for ticket in tickets:
            ticket.release()


def moment_of(now: float, wall: datetime) -> datetime:
    """Return the clock's time, or wall time while a recording has told none."""
    return datetime.fromtimestamp(now, UTC) if now > 0 else wall
