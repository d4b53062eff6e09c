"""The ledger's store in Azure Table Storage: one table for any number of instances.

An answer replaces an address's entry, whatever stands there. Whoever parks sign-ins writes the
entry too, in the same transaction and only if it is as it was read. So one of the two sees the
other: the one who parks meets the answer, or the one who answers finds the sign-ins that wait.
Every write may be repeated when its outcome is in doubt; what it finds then tells.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from consumers.ledger.rules import HISTORY_SECONDS, is_about
from consumers.ledger.table import rows as layout
from consumers.ledger.table.pending import TablePending
from consumers.ledger.table.rows import VerdictEntry, Write, WriteConflict
from schemas.ledger_ports import ErasedCounts, LeaseResult, LedgerSize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumers.ledger.table.rows import Entity
    from schemas.intel.verdicts import Answer

_HISTORY_BATCH = 200
"""Entries of the history that are joined at once."""
_SIZE_SECONDS = 300.0
"""How old the figures of :meth:`TableLedger.size` may be."""
_BUDGET_SECONDS = 400 * 86_400.0
"""Age at which a budget that nobody touches is of a period long gone."""


class TableLedger(TablePending):
    """See :class:`schemas.ledger_ports.Ledger`; the durable part, without a memory front."""

    _size: tuple[float, LedgerSize] | None = None

    # --- answers and claims ---

    async def get_verdicts(self, addresses: Sequence[str]) -> dict[str, Answer]:
        """Return what is known and has not expired."""
        now = self._clock.now()
        entries = await self._entries(dict.fromkeys(addresses), None)
        return {one.address: one.answer() for one in entries if one.expires > now}

    async def put_verdicts(self, answers: Mapping[str, Answer]) -> None:
        """Keep answers, each until it expires. Ends the claims on their addresses."""
        distinct = {id(answer): answer for answer in answers.values()}
        bodies = {key: layout.encode(answer) for key, answer in distinct.items()}

        async def keep(shard: str, addresses: list[str]) -> None:
            kept = [(address, answers[address]) for address in addresses]
            writes = [layout.answer_write(address, one, bodies[id(one)]) for address, one in kept]
            await self._write_all(shard, writes)

        await layout.in_shards(answers, keep)

    async def acquire(self, addresses: Sequence[str], seconds: float) -> LeaseResult:
        """Return those addresses that this instance may ask about now, and no other one."""
        return await self._lease(addresses, VerdictEntry.free, self._instance, seconds)

    async def release(self, addresses: Sequence[str]) -> None:
        """End this instance's claims without an answer: nothing was asked."""
        await self._lease(addresses, lambda entry, own, _: entry.owner == own, "", 0.0)

    async def _lease(
        self,
        addresses: Sequence[str],
        may: Callable[[VerdictEntry, str, float], bool],
        owner: str,
        seconds: float,
    ) -> LeaseResult:
        async def lease(shard: str, part: list[str]) -> LeaseResult:
            entries = await self._entries(part, None)
            now = self._clock.now()
            mine = [one for one in entries if may(one, self._instance, now)]
            until = now + seconds
            await self._write_all(shard, [one.touched(owner=owner, until=until) for one in mine])
            answered = {one.address: one.answer() for one in entries if one.stands(now)}
            return LeaseResult({one.address for one in mine}, answered)

        async def alone(shard: str, part: list[str]) -> LeaseResult:
            return await self._alone(shard, lambda: lease(shard, part))

        whole = LeaseResult(set(), {})
        for part in await layout.in_shards(addresses, alone):
            whole.acquired.update(part.acquired)
            whole.resolved.update(part.resolved)
        return whole

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
            except WriteConflict as conflict:
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

    async def get_history(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what was kept."""
        found = await asyncio.gather(*map(self._history_of, keys))
        return {
            key: bytes(one.values["body"])
            for key, one in zip(keys, found, strict=True)
            if one is not None
        }

    async def _history_of(self, key: str) -> Entity | None:
        return await self._table.get(layout.shard_of(key), layout.HISTORY + layout.safe(key))

    async def put_history(
        self, entries: Mapping[str, bytes], merge: Callable[[str, bytes, bytes], bytes]
    ) -> None:
        """Keep entries, each joined with what another instance has kept meanwhile."""

        async def keep(shard: str, keys: list[str]) -> None:
            await self._alone(shard, lambda: keep_some(shard, keys))

        async def keep_some(shard: str, keys: list[str]) -> None:
            there = await asyncio.gather(*map(self._history_of, keys))
            now = self._clock.now()
            writes = []
            for key, found in zip(keys, there, strict=True):
                body = entries[key]
                if found is not None:
                    body = merge(key, body, bytes(found.values["body"]))
                row = layout.HISTORY + layout.safe(key)
                writes.append(layout.put(row, found, used=now, body=body))
            await self._write_all(shard, writes)

        for start in range(0, len(entries), _HISTORY_BATCH):
            await layout.in_shards(list(entries)[start : start + _HISTORY_BATCH], keep)

    async def forget(
        self,
        revise: Callable[[str, bytes], bytes | None],
        *,
        address: str | None = None,
        account: str | None = None,
    ) -> ErasedCounts:
        """Delete what is kept of an address, and the sign-ins of an account or an address."""
        told = ErasedCounts()
        if address is not None:
            shard, row = layout.shard_of(address), layout.entry_row(address)
            if (found := await self._table.get(shard, row)) is not None:
                told.verdicts = 1
                await self._delete(shard, [Write("delete", found.row)])
        for shard in layout.SHARDS:
            rows = await self._table.rows(shard, *layout.within(layout.WAITING), None)
            waiting = [layout.waiting_of(layout.address_of(one.row), one) for one in rows]
            gone = [one for one in waiting if is_about(one.details, address, account)]
            told.waiting += len(gone)
            await self._delete(shard, [Write("delete", layout.waiting_row(one)) for one in gone])
            told.history += await self._revise(shard, revise)
        return told

    async def _revise(self, shard: str, revise: Callable[[str, bytes], bytes | None]) -> int:
        """Revise the history of a shard; return how many entries changed."""

        async def revise_all() -> int:
            writes: list[Write] = []
            for one in await self._table.rows(shard, *layout.within(layout.HISTORY), None):
                body = bytes(one.values["body"])
                left = revise(layout.unsafe(one.row.removeprefix(layout.HISTORY)), body)
                if left is None:
                    writes.append(Write("delete", one.row, etag=one.etag))
                elif left != body:
                    writes.append(Write("merge", one.row, {"body": left}, one.etag))
            await self._write_all(shard, writes)
            return len(writes)

        return await self._alone(shard, revise_all)

    async def get_value(self, name: str) -> str | None:
        """Return a note."""
        found = await self._table.get(layout.NOTES, layout.safe(name))
        return None if found is None else str(found.values["text"])

    async def put_value(self, name: str, text: str) -> None:
        """Keep a small text under a name."""
        await self._write_all(layout.NOTES, [Write("replace", layout.safe(name), {"text": text})])

    async def purge_expired(self) -> None:
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
            aged = f"used lt {self._clock.now() - HISTORY_SECONDS!r}"
            old = await self._table.rows(shard, *layout.within(layout.HISTORY), where=aged)
            await self._delete(shard, [Write("delete", one.row, etag=one.etag) for one in old])
        await self._write_all(layout.META, [Write("replace", "size", {"verdicts": verdicts})])
        past = f"time lt {self._clock.now() - _BUDGET_SECONDS!r}"
        budgets = await self._table.rows(layout.BUDGET, "-", "~", where=past)
        gone = [Write("delete", one.row, etag=one.etag) for one in budgets]
        await self._delete(layout.BUDGET, gone)

    async def size(self) -> LedgerSize:
        """Return what the ledger holds: verdicts as of the last sweep, the rest minutes old."""
        now = self._clock.now()
        if self._size is None or not 0 <= now - self._size[0] < _SIZE_SECONDS:
            swept = await self._table.get(layout.META, "size")
            size = LedgerSize(verdicts=0 if swept is None else int(swept.values["verdicts"]))
            for shard in layout.SHARDS:
                for kind in (layout.DROPPED, layout.WAITING):
                    rows = await self._table.rows(shard, *layout.within(kind), ["signins"])
                    layout.measure(rows, size)
            self._size = now, size
        return replace(self._size[1], dropped=dict(self._size[1].dropped))
