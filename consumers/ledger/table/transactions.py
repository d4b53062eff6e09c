"""Reading and writing the ledger's table, so that nobody writes over what he has not read."""

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
    """The table of one instance.

    The clocks of the instances should agree to within seconds: claims and answers end by them.
    """

    def __init__(
        self, table: StateTable, clock: Clock, *, waiting_per_address: int, instance: str
    ) -> None:
        self._table = table
        self._clock = clock
        self._waiting_per_address = waiting_per_address
        self._instance = instance
        # Two tasks of one process need not find out by a conflict that they are two.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def open(self, *, create: bool = True) -> None:
        """Wait until the table answers; make it if it is not there and that is allowed.

        An empty ledger costs lookups that were made before, and nothing else.
        """
        await self._table.open(create=create)

    async def _entries(
        self, addresses: Iterable[str], columns: Sequence[str] | None = layout.ENTRY_STATE
    ) -> list[VerdictEntry]:
        """Read entries. The service has no way to read several rows at once but one by one."""
        return await asyncio.gather(*(self._entry(address, columns) for address in addresses))

    async def _entry(self, address: str, columns: Sequence[str] | None) -> VerdictEntry:
        shard, row = layout.shard_of(address), layout.entry_row(address)
        return VerdictEntry.of(address, await self._table.get(shard, row, columns))

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

    async def _alone(self, partition: str, work: Callable[[], Awaitable[Result]]) -> Result:
        """Read and write until nobody else has written in between. Somebody always gets on."""
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
            except WriteConflict as conflict:
                if len(part) > 1:
                    await asyncio.gather(*(delete([one]) for one in part))
                elif part[0].etag is None and not isinstance(conflict, MissingRow):
                    raise

        await asyncio.gather(*map(delete, layout.in_transactions(deletes)))

    async def close(self) -> None:
        """Close the connections. Claims end by themselves."""
        await self._table.close()
