"""Reads and conditional writes of the ledger's table: no instance overwrites unseen data."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

import stamina

from consumers.ledger.table import rows as layout
from consumers.ledger.table.rows import MissingRow, VerdictEntry, Write, WriteConflict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from consumers.ledger.table.client import StateTable
    from schemas.ports import Clock

Result = TypeVar("Result")


class TableAccess:
    """One instance's access to the shared table.

    The clocks of the instances must agree to within seconds, because leases and verdicts expire by
    them.
    """

    def __init__(
        self, table: StateTable, clock: Clock, *, waiting_per_address: int, instance: str
    ) -> None:
        self._table = table
        self._clock = clock
        self._waiting_per_address = waiting_per_address
        self._instance = instance
        # Tasks of one process wait for each other instead of running into conflicts.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def open(self, *, create: bool = True) -> None:
        """Wait until the table responds. With *create*, create it if it does not exist.

        An empty ledger only costs repeated lookups.
        """
        await self._table.open(create=create)

    async def _entries(
        self, addresses: Iterable[str], columns: Sequence[str] | None = layout.ENTRY_STATE
    ) -> list[VerdictEntry]:
        """Read entries, each with a request of its own: the service has no batch reads."""
        return await asyncio.gather(*(self._entry(address, columns) for address in addresses))

    async def _entry(self, address: str, columns: Sequence[str] | None) -> VerdictEntry:
        shard, row = layout.shard_of(address), layout.entry_row(address)
        return VerdictEntry.of(address, await self._table.get(shard, row, columns))

    async def _write_counted(
        self, shard: str, writes: Sequence[Write], reason: str, dropped: int
    ) -> None:
        """Write and, in the same transaction, add *dropped* to the count for *reason*."""
        if dropped:
            row = layout.DROPPED + reason
            found = await self._table.get(shard, row)
            before = 0 if found is None else int(found.values["signins"])
            writes = [*writes, layout.put(row, found, signins=before + dropped)]
        if writes:
            await self._table.write(shard, writes)

    async def _without_conflict(
        self, partition: str, operation: Callable[[], Awaitable[Result]]
    ) -> Result:
        """Repeat *operation*, a read and a conditional write, until it meets no conflict.

        Of several competing instances, at least one always succeeds.
        """
        async with self._locks[partition]:
            async for attempt in stamina.retry_context(
                on=WriteConflict,
                attempts=None,
                timeout=None,
                wait_initial=0.01,
                wait_max=1.0,
                wait_jitter=0.05,
            ):
                with attempt:
                    return await operation()
        raise AssertionError("unreachable")  # pragma: no cover

    async def _write_all(self, partition: str, writes: Sequence[Write]) -> None:
        """Write in as few transactions as possible, which run concurrently."""
        batches = list(layout.in_transactions(writes))
        await asyncio.gather(*(self._table.write(partition, batch) for batch in batches))

    async def _delete(self, partition: str, deletes: Sequence[Write]) -> None:
        """Delete rows. Skip rows that are already gone or have changed since they were read."""

        async def delete(batch: list[Write]) -> None:
            try:
                await self._table.write(partition, batch)
            except WriteConflict as conflict:
                if len(batch) > 1:
                    await asyncio.gather(*(delete([write]) for write in batch))
                elif batch[0].etag is None and not isinstance(conflict, MissingRow):
                    raise

        await asyncio.gather(*map(delete, layout.in_transactions(deletes)))

    async def close(self) -> None:
        """Close the connections. Leases expire by themselves."""
        await self._table.close()
