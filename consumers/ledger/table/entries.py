"""Keyed rows of the shared ledger: partition ``SPACE-NUMBER``, row ``-KEY``, written at ``t``."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import aclosing
from typing import TYPE_CHECKING
from zlib import crc32

from typing_extensions import override

from consumers.ledger.entries import EntryStore, StoredEntry, Written
from consumers.ledger.table.entities import (
    Write,
    WriteConflict,
    in_transactions,
    joined_body,
    safe,
    split_body,
    unsafe,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from consumers.ledger.entries import EntryWrite
    from consumers.ledger.table.client import StateTable
    from consumers.ledger.table.entities import Entity
    from schemas.ledger_ports import EntrySpace

PARTITIONS_PER_SPACE = 4
_ALL = (" ", "~~")
"""The bounds of all row keys, which are printable ASCII."""


class TableEntries(EntryStore):
    """Rows by space and key in a table that instances share."""

    lists_keys = True

    def __init__(self, table: StateTable) -> None:
        self._table = table

    @override
    async def read(self, space: EntrySpace, keys: Sequence[str]) -> dict[str, StoredEntry]:
        rows = await asyncio.gather(
            *(self._table.get(_partition(space, key), _row(key)) for key in keys)
        )
        return {key: _entry(row) for key, row in zip(keys, rows, strict=True) if row is not None}

    @override
    async def write(self, space: EntrySpace, writes: Sequence[EntryWrite]) -> Written:
        by_partition: defaultdict[str, list[EntryWrite]] = defaultdict(list)
        for write in writes:
            by_partition[_partition(space, write.key)].append(write)
        versions: dict[str, str] = {}
        conflicts: list[str] = []
        doubtful = False

        async def send(partition: str, part: list[EntryWrite]) -> None:
            nonlocal doubtful
            keys = {_row(write.key): write.key for write in part}
            for batch in in_transactions([_write(write) for write in part]):
                try:
                    etags = await self._table.write(partition, batch)
                except WriteConflict as conflict:
                    doubtful |= conflict.doubtful
                    conflicts.extend(keys[write.row] for write in batch)
                    continue
                versions.update(
                    (keys[write.row], etag) for write, etag in zip(batch, etags, strict=True)
                )

        await asyncio.gather(*(send(*part) for part in by_partition.items()))
        return Written(versions, conflicts, doubtful)

    @override
    async def scan(
        self, space: EntrySpace, used_before: float | None = None, *, bodies: bool = True
    ) -> AsyncIterator[dict[str, StoredEntry]]:
        where = "" if used_before is None else f"t lt {float(used_before)!r}"
        columns = None if bodies else ("t",)
        for number in range(PARTITIONS_PER_SPACE):
            partition = f"{space.value}-{number}"
            pages = self._table.pages(partition, *_ALL, columns, where=where)
            async with aclosing(pages):
                async for page in pages:
                    yield {unsafe(row.row.removeprefix("-")): _entry(row) for row in page}


def _partition(space: EntrySpace, key: str) -> str:
    return f"{space.value}-{crc32(key.encode()) % PARTITIONS_PER_SPACE}"


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
