"""The ledger's store in Azure Table Storage: one table for any number of instances.

An answer replaces an address's entry, whatever stands there. Whoever parks sign-ins writes the
entry too, in the same transaction and only if it is as it was read. So one of the two sees the
other: the one who parks meets the answer, or the one who answers finds the sign-ins that wait.
Every write may be repeated when its outcome is in doubt; what it finds then tells.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import aclosing
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import stamina

from consumers.ledger import table_rows as layout
from consumers.ledger.sqlite import CROWDED_OUT, TOO_OLD
from consumers.ledger.table_client import AT_ONCE
from consumers.ledger.table_rows import Conflict, Entry, Missing, Write
from schemas.ports import Claimed, LedgerSize
from schemas.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from consumers.ledger.table_client import Table
    from consumers.ledger.table_rows import Entity
    from schemas.ports import Clock, Waiting
    from schemas.verdicts import Answer

Result = TypeVar("Result")

_STEP = 45
"""Addresses that one transaction may park for: each takes two writes or more."""
_SIZE_SECONDS = 300.0
"""How old the figures of :meth:`TableStore.size` may be."""
_BUDGET_SECONDS = 400 * 86_400.0
"""Age at which a budget that nobody touches is of a period long gone."""


class TableStore:
    """See :class:`schemas.ports.Ledger`; this is the durable part, without a memory front.

    The clocks of the instances should agree to within seconds: claims and answers end by them.
    """

    def __init__(
        self, table: Table, clock: Clock, *, waiting_per_address: int, instance: str
    ) -> None:
        self._table = table
        self._clock = clock
        self._waiting_per_address = waiting_per_address
        self._instance = instance
        # Two tasks of one process need not find out by a conflict that they are two.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._size: tuple[float, LedgerSize] | None = None

    async def open(self, *, create: bool = True) -> None:
        """Wait until the table answers; make it if it is not there and that is allowed.

        An empty ledger costs lookups that were made before, and nothing else.
        """
        await self._table.open(create=create)

    # --- answers and claims ---

    async def answers(self, addresses: Sequence[str]) -> dict[str, Answer]:
        """Return what is known and has not expired."""
        now = self._clock.now()
        entries = await self._entries(dict.fromkeys(addresses), None)
        return {one.address: one.answer() for one in entries if one.expires > now}

    async def _entries(
        self, addresses: Iterable[str], columns: Sequence[str] | None = layout.ENTRY_STATE
    ) -> list[Entry]:
        """Read entries. The service has no way to read several rows at once but one by one."""
        return await asyncio.gather(*(self._entry(address, columns) for address in addresses))

    async def _entry(self, address: str, columns: Sequence[str] | None) -> Entry:
        shard, row = layout.shard_of(address), layout.entry_row(address)
        return Entry.of(address, await self._table.get(shard, row, columns))

    async def answer(self, answers: Mapping[str, Answer]) -> None:
        """Keep answers, each until it expires. Ends the claims on their addresses."""
        distinct = {id(answer): answer for answer in answers.values()}
        bodies = {key: layout.encode(answer) for key, answer in distinct.items()}

        async def keep(shard: str, addresses: list[str]) -> None:
            kept = [(address, answers[address]) for address in addresses]
            writes = [layout.answer_write(address, one, bodies[id(one)]) for address, one in kept]
            await self._write_all(shard, writes)

        await layout.in_shards(answers, keep)

    async def claim(self, addresses: Sequence[str], seconds: float) -> Claimed:
        """Return those addresses that this instance may ask about now, and no other one."""
        return await self._lease(addresses, Entry.free, self._instance, seconds)

    async def release(self, addresses: Sequence[str]) -> None:
        """End this instance's claims without an answer: nothing was asked."""
        await self._lease(addresses, lambda entry, own, _: entry.owner == own, "", 0.0)

    async def _lease(
        self,
        addresses: Sequence[str],
        may: Callable[[Entry, str, float], bool],
        owner: str,
        seconds: float,
    ) -> Claimed:
        async def lease(shard: str, part: list[str]) -> Claimed:
            entries = await self._entries(part, None)
            now = self._clock.now()
            mine = [one for one in entries if may(one, self._instance, now)]
            until = now + seconds
            await self._write_all(shard, [one.touched(owner=owner, until=until) for one in mine])
            answered = {one.address: one.answer() for one in entries if one.expires > now}
            return Claimed({one.address for one in mine}, answered)

        async def alone(shard: str, part: list[str]) -> Claimed:
            return await self._alone(shard, lambda: lease(shard, part))

        whole = Claimed(set(), {})
        for part in await layout.in_shards(addresses, alone):
            whole.mine.update(part.mine)
            whole.answers.update(part.answers)
        return whole

    # --- waiting sign-ins ---

    async def park_unless_answered(self, waiting: Sequence[Waiting]) -> dict[str, Verdict]:
        """Park sign-ins whose address is still unanswered; return the other verdicts."""
        pending: dict[str, dict[str, Waiting]] = {}
        for one in waiting:
            pending.setdefault(one.address, {}).setdefault(one.key, one)

        async def park(shard: str, addresses: list[str]) -> dict[str, Verdict]:
            known: dict[str, Verdict] = {}
            left = {address: pending[address] for address in addresses}
            while left:
                known |= await self._alone(shard, lambda: self._park_some(shard, left))
            return known

        found: dict[str, Verdict] = {}
        for known in await layout.in_shards(pending, park):
            found |= known
        return found

    async def _park_some(
        self, shard: str, pending: dict[str, dict[str, Waiting]]
    ) -> dict[str, Verdict]:
        """Park what one transaction takes, and remove from *pending* what is done."""
        plans = await asyncio.gather(*(self._plan(*one) for one in islice(pending.items(), _STEP)))
        now = self._clock.now()
        known: dict[str, Verdict] = {}
        done: list[str] = []
        bundle = layout.Bundle()
        for plan in plans:
            answer = plan.entry.answer() if plan.entry.expires > now else None
            if isinstance(answer, Verdict):
                known[plan.entry.address] = answer
            elif not bundle.take(plan):
                continue
            done.append(plan.entry.address)
        await self._write_counted(shard, bundle.writes, CROWDED_OUT, bundle.dropped)
        for address in done:
            del pending[address]
        return known

    async def _plan(self, address: str, wanted: Mapping[str, Waiting]) -> layout.Parking:
        span = layout.within(layout.waiting_rows(address))
        entry, parked = await asyncio.gather(
            self._entry(address, None),
            self._table.rows(layout.shard_of(address), *span, layout.WAITING_RANK),
        )
        return layout.Parking.plan(entry, parked, wanted, self._waiting_per_address)

    async def _write_counted(
        self, shard: str, writes: Sequence[Write], reason: str, dropped: int
    ) -> None:
        """Write, and count in the same transaction what is dropped by it."""
        if dropped:
            row = layout.DROPPED + reason
            found = await self._table.get(shard, row)
            before = 0 if found is None else int(found.values["signins"])
            writes = [*writes, layout.put(row, found, signins=before + dropped)]
        if writes:
            await self._table.write(shard, writes)

    async def waiting_among(self, addresses: Sequence[str]) -> set[str]:
        """Return those addresses that sign-ins wait for."""
        return set().union(*await layout.in_shards(addresses, self._waiting_among))

    async def _waiting_among(self, shard: str, addresses: list[str]) -> set[str]:
        """Leap from one waiting sign-in to the next wanted address: one read if nothing waits."""
        found: set[str] = set()
        left = sorted(map(layout.waiting_rows, addresses))
        while left:
            row = await self._table.first(shard, left[0], layout.after(left[-1]))
            if row is None:
                break
            here = layout.waiting_rows(layout.address_of(row))
            if here in left:
                found.add(layout.address_of(row))
            left = [one for one in left if one > here]
        return found

    async def waiting_for(self, address: str, most: int) -> list[Waiting]:
        """Return up to *most* sign-ins that wait for *address*, oldest first."""
        span = layout.within(layout.waiting_rows(address))
        rows = await self._table.rows(layout.shard_of(address), *span, None)
        waiting = [layout.waiting_of(address, one) for one in rows]
        return sorted(waiting, key=lambda one: (one.parked, one.key))[:most]

    async def settle(self, waiting: Sequence[Waiting]) -> None:
        """Delete waiting sign-ins: their finding was accepted, or they are harmless."""
        rows: dict[str, list[str]] = {}
        for one in waiting:
            rows.setdefault(one.address, []).append(layout.waiting_row(one))

        async def delete(shard: str, addresses: list[str]) -> None:
            distinct = dict.fromkeys(row for address in addresses for row in rows[address])
            await self._delete(shard, [Write("delete", row) for row in distinct])

        await layout.in_shards(rows, delete)

    async def answered_waiting(self) -> list[str]:
        """Return answered addresses that still have waiting sign-ins."""
        addresses = dict.fromkeys(layout.address_of(one.row) for one in await self._all_waiting())
        now = self._clock.now()
        entries = await self._entries(addresses)
        return [one.address for one in entries if one.answered and one.expires > now]

    async def _all_waiting(self, columns: Sequence[str] = ()) -> list[Entity]:
        span = layout.within(layout.WAITING)
        read = (self._table.rows(shard, *span, columns) for shard in layout.SHARDS)
        return [one for rows in await asyncio.gather(*read) for one in rows]

    async def due(self, most: int) -> list[str]:
        """Return addresses that may be asked: successes first, then the longest waiting.

        Those that another instance asks about just now are left to it.
        """
        ranked = iter(layout.ranked(await self._all_waiting(layout.WAITING_RANK)))
        now = self._clock.now()
        found: list[str] = []
        while len(found) < most and (part := list(islice(ranked, max(most, AT_ONCE)))):
            entries = await self._entries(part)
            found += [one.address for one in entries if one.free(self._instance, now)]
        return found[:most]

    async def give_up(self, parked_before: float) -> int:
        """Drop and count sign-ins that have waited too long."""
        span, old = layout.within(layout.WAITING), f"parked lt {float(parked_before)!r}"

        async def drop_some(shard: str) -> int:
            rows = await self._table.rows(shard, *span, where=old)
            some = [Write("delete", one.row) for one in rows[: layout.LONGEST_TRANSACTION - 1]]
            await self._write_counted(shard, some, TOO_OLD, len(some))
            return len(some)

        async def drop(shard: str) -> int:
            gone = 0
            while some := await self._alone(shard, lambda: drop_some(shard)):
                gone += some
            return gone

        return sum(await asyncio.gather(*map(drop, layout.SHARDS)))

    # --- the budget and notes ---

    async def reserve(self, account: str, period: str, wanted: int, quota: int) -> int:
        """Take up to *wanted* lookups from the period's quota; return how many.

        Where the outcome is in doubt, lookups may be taken twice, but never beyond the quota.
        """
        row, mark = layout.budget_row(account, period), uuid4().hex
        granted = 0

        async def take() -> int:
            nonlocal granted
            found = await self._table.get(layout.BUDGET, row)
            if found is not None and found.values["mark"] == mark:
                return granted  # the write before this one did happen
            spent = 0 if found is None else int(found.values["spent"])
            granted = max(0, min(wanted, quota - spent))
            if granted:
                await self._spend(row, found, spent + granted, mark)
            return granted

        return await self._alone(layout.BUDGET, take)

    async def refund(self, account: str, period: str, lookups: int) -> None:
        """Give lookups back that surely did not count; in doubt they stay spent."""
        row, mark = layout.budget_row(account, period), uuid4().hex
        doubtful = False

        async def give_back() -> None:
            nonlocal doubtful
            found = await self._table.get(layout.BUDGET, row)
            if found is None or doubtful:
                return
            try:
                spent = int(found.values["spent"])
                await self._spend(row, found, max(0, spent - lookups), mark)
            except Conflict as conflict:
                doubtful = conflict.doubtful
                raise

        await self._alone(layout.BUDGET, give_back)

    async def _spend(self, row: str, found: Entity | None, spent: int, mark: str) -> None:
        write = layout.put(row, found, spent=spent, mark=mark, time=self._clock.now())
        await self._table.write(layout.BUDGET, [write])

    async def spent(self, account: str, period: str) -> int:
        """Return the lookups taken in the period."""
        found = await self._table.get(layout.BUDGET, layout.budget_row(account, period))
        return 0 if found is None else int(found.values["spent"])

    async def note(self, name: str) -> str | None:
        """Return a note."""
        found = await self._table.get(layout.NOTES, layout.safe(name))
        return None if found is None else str(found.values["text"])

    async def leave_note(self, name: str, text: str) -> None:
        """Keep a small text under a name."""
        await self._write_all(layout.NOTES, [Write("replace", layout.safe(name), {"text": text})])

    async def sweep(self) -> None:
        """Delete what has expired, and budgets of periods long gone; count the verdicts.

        One shard after the other, a page at a time: several instances may do it at once, and
        there may be a million entries.
        """
        verdicts = 0
        for shard in layout.SHARDS:
            span = layout.within(layout.ENTRIES)
            async with aclosing(self._table.pages(shard, *span, layout.ENTRY_STATE)) as pages:
                async for page in pages:
                    gone, alive = layout.expired(page, self._clock.now())
                    verdicts += alive
                    await self._delete(shard, gone)
        await self._write_all(layout.META, [Write("replace", "size", {"verdicts": verdicts})])
        old = f"time lt {self._clock.now() - _BUDGET_SECONDS!r}"
        budgets = await self._table.rows(layout.BUDGET, "-", "~", where=old)
        gone = [Write("delete", one.row, etag=one.etag) for one in budgets]
        await self._delete(layout.BUDGET, gone)

    async def size(self) -> LedgerSize:
        """Return what the ledger holds: verdicts as of the last sweep, the rest minutes old."""
        now = self._clock.now()
        if self._size is None or not 0 <= now - self._size[0] < _SIZE_SECONDS:
            swept = await self._table.get(layout.META, "size")
            size = LedgerSize(verdicts=0 if swept is None else int(swept.values["verdicts"]))
            span = layout.DROPPED, layout.after(layout.WAITING)  # the entries come before both
            for shard in layout.SHARDS:
                layout.measure(await self._table.rows(shard, *span, ["signins"]), size)
            self._size = now, size
        return replace(self._size[1], dropped=dict(self._size[1].dropped))

    async def close(self) -> None:
        """Close the connections. Claims end by themselves."""
        await self._table.close()

    # --- writing ---

    async def _alone(self, partition: str, work: Callable[[], Awaitable[Result]]) -> Result:
        """Read and write until nobody else has written in between. Somebody always gets on."""
        async with self._locks[partition]:
            async for attempt in stamina.retry_context(
                on=Conflict,
                attempts=None,
                timeout=None,
                wait_initial=0.01,
                wait_max=1.0,
                wait_jitter=0.05,
            ):
                with attempt:
                    return await work()
        raise AssertionError("unreachable")  # pragma: no cover

    async def _write_all(self, partition: str, writes: Sequence[Write]) -> None:
        """Write in as few transactions as possible, all at once."""
        parts = list(layout.in_transactions(writes))
        await asyncio.gather(*(self._table.write(partition, part) for part in parts))

    async def _delete(self, partition: str, deletes: Sequence[Write]) -> None:
        """Delete rows; those that are gone already, or not as they were read, are let be."""

        async def delete(part: list[Write]) -> None:
            try:
                await self._table.write(partition, part)
            except Conflict as conflict:
                if len(part) > 1:
                    await asyncio.gather(*(delete([one]) for one in part))
                elif part[0].etag is None and not isinstance(conflict, Missing):
                    raise

        await asyncio.gather(*map(delete, layout.in_transactions(deletes)))
