"""Keyed rows of the shared ledger: partition ``SPACE-NUMBER``, row ``-KEY``, written at ``t``."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from contextlib import aclosing
from itertools import chain
from typing import TYPE_CHECKING
from zlib import crc32

from typing_extensions import override

from consumers.ledger.entries import EntryStore, StoredEntry, Written
from consumers.ledger.table.entities import Write, joined_body, safe, split_body, unsafe
from consumers.ledger.table.transactions import Unit, apply, in_transactions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from consumers.ledger.entries import EntryWrite
    from consumers.ledger.table.client import StateTable
    from consumers.ledger.table.entities import Entity
    from schemas.ledger_ports import EntrySpace

PARTITIONS_PER_SPACE = 4
ROWS_PER_READ = 20
"""Rows of a page that cost as much as reading one row. If more of a partition are wanted, it is
read as a whole."""
_ALL = (" ", "~~")
"""The bounds of all row keys, which are printable ASCII."""


class TableEntries(EntryStore):
    """Rows by space and key in a table that instances share."""

    lists_keys = True

    def __init__(self, table: StateTable) -> None:
        self._table = table
        self._sizes: dict[str, int] = {}
        """Rows of partitions that were scanned, at least."""

    @override
    async def read(self, space: EntrySpace, keys: Sequence[str]) -> dict[str, StoredEntry]:
        wanted = {_row(key): key for key in keys}
        parts = _by_partition(space, wanted)
        found = await asyncio.gather(*(self._read(*part) for part in parts.items()))
        return {wanted[row.row]: _entry(row) for row in chain.from_iterable(found)}

    async def _read(self, partition: str, rows: Sequence[str]) -> list[Entity]:
        """Read rows one by one, or the whole range if that costs less."""
        if len(rows) * ROWS_PER_READ > self._sizes.get(partition, sys.maxsize):
            every = await self._table.rows(partition, min(rows), max(rows) + " ", None)
            self._sizes[partition] = max(self._sizes[partition], len(every))
            wanted = set(rows)
            return [row for row in every if row.row in wanted]
        found = await asyncio.gather(*(self._table.get(partition, row) for row in rows))
        return [row for row in found if row is not None]

    @override
    async def write(self, space: EntrySpace, writes: Sequence[EntryWrite]) -> Written:
        by_row = {_row(write.key): write for write in writes}
        written = Written()

        async def send(partition: str, rows: Sequence[str]) -> None:
            units = (Unit(by_row[row].key, [_write(by_row[row])]) for row in rows)
            for part in in_transactions(units):
                applied = await apply(self._table, partition, part)
                written.versions.update({key: applied.etags[_row(key)] for key in applied.keys})
                written.conflicts.extend(applied.conflicts)
                written.doubtful |= applied.doubtful

        await asyncio.gather(*(send(*part) for part in _by_partition(space, by_row).items()))
        return written

    @override
    async def scan(
        self, space: EntrySpace, used_before: float | None = None, *, bodies: bool = True
    ) -> AsyncIterator[dict[str, StoredEntry]]:
        where = "" if used_before is None else f"t lt {float(used_before)!r}"
        columns = None if bodies else ("t",)
        for number in range(PARTITIONS_PER_SPACE):
            partition = f"{space.value}-{number}"
            pages = self._table.pages(partition, *_ALL, columns, where=where)
            size = 0
            async with aclosing(pages):
                async for page in pages:
                    size += len(page)
                    yield {unsafe(row.row.removeprefix("-")): _entry(row) for row in page}
            if used_before is None:
                self._sizes[partition] = size


def _by_partition(space: EntrySpace, rows: Iterable[str]) -> Mapping[str, list[str]]:
    parts: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        parts[f"{space.value}-{crc32(row.encode()) % PARTITIONS_PER_SPACE}"].append(row)
    return parts


def _row(key: str) -> str:
    """Return the row key. It begins with a sign, because it must not be empty."""
    return f"-{safe(key)}"


def _entry(row: Entity) -> StoredEntry:
    return StoredEntry(joined_body(row.values), float(row.values["t"]), row.etag)


def _write(write: EntryWrite) -> Write:
    if write.body is None:
        return Write("delete", _row(write.key), etag=write.version)
    values = {"t": float(write.used), **split_body(write.body)}
    kind = "create" if write.version is None else "replace"
    return Write(kind, _row(write.key), values, write.version)
