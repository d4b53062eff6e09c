"""The ledger in Azure Table Storage: one table for any number of instances.

A verdict replaces an address's entry unconditionally. Enqueueing a sign-in also writes the entry,
in the same transaction and only if it is unchanged since it was read. So one of the two instances
sees the other: the one that enqueues meets the verdict, or the one that stores the verdict finds
the pending sign-ins. A write whose outcome is unknown may be repeated; the rows then show whether
it was applied.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from typing_extensions import override

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
"""History entries that are merged concurrently."""
_SIZE_SECONDS = 300.0
"""Maximum age of the figures of :meth:`TableLedger.size`."""
_BUDGET_SECONDS = 400 * 86_400.0
"""Age at which an unchanged budget row is deleted, because its period is over."""


class TableLedger(TablePending):
    """The durable ledger, without the in-memory cache."""

    _size: tuple[float, LedgerSize] | None = None

    # --- verdicts and leases ---

    @override
    async def get_verdicts(self, addresses: Sequence[str]) -> dict[str, Answer]:
        now = self._clock.now()
        entries = await self._entries(dict.fromkeys(addresses), None)
        return {entry.address: entry.answer() for entry in entries if entry.expires > now}

    @override
    async def put_verdicts(self, answers: Mapping[str, Answer]) -> None:
        distinct = {id(answer): answer for answer in answers.values()}
        bodies = {key: layout.encode(answer) for key, answer in distinct.items()}

        async def store(shard: str, addresses: list[str]) -> None:
            writes = [
                layout.answer_write(address, answers[address], bodies[id(answers[address])])
                for address in addresses
            ]
            await self._write_all(shard, writes)

        await layout.in_shards(answers, store)

    @override
    async def acquire(self, addresses: Sequence[str], seconds: float) -> LeaseResult:
        return await self._lease(addresses, VerdictEntry.available, self._instance, seconds)

    @override
    async def release(self, addresses: Sequence[str]) -> None:
        await self._lease(addresses, lambda entry, own, _: entry.owner == own, "", 0.0)

    async def _lease(
        self,
        addresses: Sequence[str],
        selects: Callable[[VerdictEntry, str, float], bool],
        owner: str,
        seconds: float,
    ) -> LeaseResult:
        async def lease(shard: str, part: list[str]) -> LeaseResult:
            entries = await self._entries(part, None)
            now = self._clock.now()
            selected = [entry for entry in entries if selects(entry, self._instance, now)]
            until = now + seconds
            writes = [entry.touched(owner=owner, until=until) for entry in selected]
            await self._write_all(shard, writes)
            resolved = {entry.address: entry.answer() for entry in entries if entry.stands(now)}
            return LeaseResult({entry.address for entry in selected}, resolved)

        async def lease_shard(shard: str, part: list[str]) -> LeaseResult:
            return await self._without_conflict(shard, lambda: lease(shard, part))

        total = LeaseResult(set(), {})
        for result in await layout.in_shards(addresses, lease_shard):
            total.acquired.update(result.acquired)
            total.resolved.update(result.resolved)
        return total

    # --- budget, history and values ---

    @override
    async def reserve(self, account: str, period: str, wanted: int, quota: int) -> int:
        """Reserve up to *wanted* lookups of the period's quota; return how many.

        After a write of unknown outcome lookups may be reserved twice, never beyond the quota.
        """
        row, mark = layout.budget_row(account, period), uuid4().hex
        granted = 0

        async def take() -> int:
            nonlocal granted
            found = await self._table.get(layout.BUDGET, row)
            if found is not None and found.values["mark"] == mark:
                return granted  # the previous attempt was applied
            spent = 0 if found is None else int(found.values["spent"])
            granted = max(0, min(wanted, quota - spent))
            if granted:
                await self._spend(row, found, spent + granted, mark)
            return granted

        return await self._without_conflict(layout.BUDGET, take)

    @override
    async def refund(self, account: str, period: str, lookups: int) -> None:
        """Return lookups that did not count for certain. Uncertain writes leave them spent."""
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

        await self._without_conflict(layout.BUDGET, give_back)

    async def _spend(self, row: str, found: Entity | None, spent: int, mark: str) -> None:
        write = layout.put(row, found, spent=spent, mark=mark, time=self._clock.now())
        await self._table.write(layout.BUDGET, [write])

    @override
    async def spent(self, account: str, period: str) -> int:
        found = await self._table.get(layout.BUDGET, layout.budget_row(account, period))
        return 0 if found is None else int(found.values["spent"])

    @override
    async def get_history(self, keys: Sequence[str]) -> dict[str, bytes]:
        entities = await asyncio.gather(*map(self._history_of, keys))
        return {
            key: bytes(entity.values["body"])
            for key, entity in zip(keys, entities, strict=True)
            if entity is not None
        }

    async def _history_of(self, key: str) -> Entity | None:
        return await self._table.get(layout.shard_of(key), layout.HISTORY + layout.safe(key))

    @override
    async def put_history(
        self, entries: Mapping[str, bytes], merge: Callable[[str, bytes, bytes], bytes]
    ) -> None:
        async def merge_shard(shard: str, keys: list[str]) -> None:
            await self._without_conflict(shard, lambda: merge_stored(shard, keys))

        async def merge_stored(shard: str, keys: list[str]) -> None:
            stored = await asyncio.gather(*map(self._history_of, keys))
            now = self._clock.now()
            writes = []
            for key, found in zip(keys, stored, strict=True):
                body = entries[key]
                if found is not None:
                    body = merge(key, body, bytes(found.values["body"]))
                row = layout.HISTORY + layout.safe(key)
                writes.append(layout.put(row, found, used=now, body=body))
            await self._write_all(shard, writes)

        for start in range(0, len(entries), _HISTORY_BATCH):
            await layout.in_shards(list(entries)[start : start + _HISTORY_BATCH], merge_shard)

    @override
    async def forget(
        self,
        revise: Callable[[str, bytes], bytes | None],
        *,
        address: str | None = None,
        account: str | None = None,
    ) -> ErasedCounts:
        erased = ErasedCounts()
        if address is not None:
            shard, row = layout.shard_of(address), layout.entry_row(address)
            if (found := await self._table.get(shard, row)) is not None:
                erased.verdicts = 1
                await self._delete(shard, [Write("delete", found.row)])
        for shard in layout.SHARDS:
            rows = await self._table.rows(shard, *layout.within(layout.WAITING), None)
            waiting = [layout.waiting_of(layout.address_of(entity.row), entity) for entity in rows]
            gone = [sign_in for sign_in in waiting if is_about(sign_in.details, address, account)]
            erased.waiting += len(gone)
            deletes = [Write("delete", layout.waiting_row(sign_in)) for sign_in in gone]
            await self._delete(shard, deletes)
            erased.history += await self._revise(shard, revise)
        return erased

    async def _revise(self, shard: str, revise: Callable[[str, bytes], bytes | None]) -> int:
        """Revise the history of a shard; return the number of changed entries."""

        async def revise_all() -> int:
            writes: list[Write] = []
            for entity in await self._table.rows(shard, *layout.within(layout.HISTORY), None):
                body = bytes(entity.values["body"])
                left = revise(layout.unsafe(entity.row.removeprefix(layout.HISTORY)), body)
                if left is None:
                    writes.append(Write("delete", entity.row, etag=entity.etag))
                elif left != body:
                    writes.append(Write("merge", entity.row, {"body": left}, entity.etag))
            await self._write_all(shard, writes)
            return len(writes)

        return await self._without_conflict(shard, revise_all)

    @override
    async def get_value(self, name: str) -> str | None:
        found = await self._table.get(layout.NOTES, layout.safe(name))
        return None if found is None else str(found.values["text"])

    @override
    async def put_value(self, name: str, text: str) -> None:
        await self._write_all(layout.NOTES, [Write("replace", layout.safe(name), {"text": text})])

    @override
    async def purge_expired(self) -> None:
        """Delete expired entries and budgets, by shard and page; count the valid verdicts."""
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
            await self._delete(shard, [Write("delete", row.row, etag=row.etag) for row in old])
        await self._write_all(layout.META, [Write("replace", "size", {"verdicts": verdicts})])
        past = f"time lt {self._clock.now() - _BUDGET_SECONDS!r}"
        budgets = await self._table.rows(layout.BUDGET, "-", "~", where=past)
        gone = [Write("delete", row.row, etag=row.etag) for row in budgets]
        await self._delete(layout.BUDGET, gone)

    @override
    async def size(self) -> LedgerSize:
        """Return the size: verdicts as of the last purge, other counts up to five minutes old."""
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
