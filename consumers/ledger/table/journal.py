"""Feed journals in Azure Table Storage, shared by the instances on one table.

A feed's journal is one partition, ``feed-NAME``:

``GENERATION-NUMBER``  an entry; entries never change while their generation is current
``head``               the current generation, and the number of its last entry

Every visible change includes a conditional write of ``head``. Of two concurrent writers, the
second therefore gets a conflict. A journal without ``head`` is empty.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from typing_extensions import override

from consumers.ledger.table.entities import Write, WriteConflict, safe
from consumers.ledger.table.transactions import Unit, apply, in_transactions
from schemas.errors import LedgerFailed
from schemas.feed_ports import FeedJournal, JournalEntry, JournalPosition

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from consumers.ledger.table.client import StateTable

MAX_EXTENSION_BODIES = 20
"""Bodies per extension. In base64 they stay below the service's limit of 4 MiB."""
MAX_JOURNAL_BODY_BYTES = 60_000
"""Bytes. A property holds 64 KiB."""
_JOURNAL_PAGE = 64
"""Entries per page. In base64 they take up to 5 MB."""
_DELETE_BATCH = 100
"""Rows per transaction, the service's limit."""
_HEAD = "head"
_START = JournalPosition()


@dataclass(frozen=True, slots=True)
class _JournalHead:
    """The row ``head``. If ``etag`` is None, there is no such row and the journal is empty."""

    place: JournalPosition = _START
    claimed: int = 0
    """The highest generation reserved by a renewal, finished or not."""
    swept: int = 0
    """All earlier generations have been deleted."""
    etag: str | None = None

    def changed(self, **values: int) -> Write:
        """Return a write that fails if the head has changed since it was read."""
        if self.etag is None:
            fresh = {"generation": 0, "number": 0, "claimed": 0, "swept": 0}
            return Write("create", _HEAD, {**fresh, **values})
        return Write("merge", _HEAD, values, self.etag)


class TableJournal(FeedJournal):
    """A feed journal in an open table. :meth:`close` closes the table.

    Every method waits until the service responds, however long that takes.
    """

    def __init__(self, table: StateTable) -> None:
        self._table = table

    @override
    async def entries(
        self, feed: str, after: JournalPosition
    ) -> AsyncGenerator[list[JournalEntry]]:
        """Yield the entries after a position, in order, in batches.

        Costs one request if there are no new entries. The reader restarts at the first entry of
        the current generation in two more cases: if the journal is renewed during the read, and if
        a failover of the storage account has lost its last entries. Raises LedgerFailed if entries
        are missing.
        """
        partition = _partition(feed)
        while (head := await self._head(partition)).place != after and head.place.number:
            known = after.generation == head.place.generation
            begin = after.number if known and after.number < head.place.number else 0
            start = JournalPosition(head.place.generation, begin)
            async with aclosing(self._between(partition, start, head.place)) as lists:
                async for found in lists:
                    start = after = found[-1].place
                    yield found
            if start != head.place:
                now = (await self._head(partition)).place
                if now.generation == head.place.generation:
                    raise LedgerFailed(
                        f"the journal of {feed} lacks what comes after {start.number:,} "
                        f"in generation {start.generation:,}"
                    )

    async def _between(
        self, partition: str, start: JournalPosition, end: JournalPosition
    ) -> AsyncGenerator[list[JournalEntry]]:
        """Yield the entries after *start* up to *end*, or up to the first missing entry."""
        generation, number = start.generation, start.number
        low, high = _row(generation, number + 1), _row(generation, end.number + 1)
        pages = self._table.pages(partition, low, high, ["body"], page_size=_JOURNAL_PAGE)
        async with aclosing(pages):
            async for page in pages:
                found: list[JournalEntry] = []
                for one in page:
                    if one.row != _row(generation, number + 1):
                        break
                    number += 1
                    found.append(
                        JournalEntry(JournalPosition(generation, number), bytes(one.values["body"]))
                    )
                if found:
                    yield found
                if len(found) < len(page):
                    return

    @override
    async def extend(
        self, feed: str, after: JournalPosition, bodies: Sequence[bytes]
    ) -> JournalPosition | None:
        """Append entries directly after a position, all or none; return the new end.

        Return None if *after* is no longer the end. If the response to a write is lost, a mark in
        the entries shows whether the write was applied. Raises LedgerFailed for too many or too
        large bodies.
        """
        if len(bodies) > MAX_EXTENSION_BODIES:
            raise LedgerFailed(
                f"a journal takes {MAX_EXTENSION_BODIES} bodies at once, not {len(bodies):,}"
            )
        _check(bodies)
        partition, mark = _partition(feed), uuid4().hex
        writes = _entries("create", after, bodies, mark)
        end = JournalPosition(after.generation, after.number + len(bodies))
        doubtful, tried = False, set[str | None]()
        while (head := await self._head(partition)).place == after:
            if head.etag in tried:  # it was not the head that was in the way
                raise LedgerFailed(f"the journal of {feed} has entries beyond its end")
            try:
                await self._table.write(partition, [*writes, head.changed(number=end.number)])
            except WriteConflict as conflict:
                doubtful = doubtful or conflict.doubtful
                if not conflict.doubtful:
                    tried.add(head.etag)
                continue
            if head.swept < head.place.generation:
                await self._sweep(partition, head.place.generation)
            return end
        return end if doubtful and await self._has_marked(partition, after, mark) else None

    async def _has_marked(self, partition: str, after: JournalPosition, mark: str) -> bool:
        """Return True if the entry directly after a position has this mark."""
        row = _row(after.generation, after.number + 1)
        found = await self._table.get(partition, row, ["mark"])
        return found is not None and found.values.get("mark") == mark

    @override
    async def renew(
        self, feed: str, after: JournalPosition, bodies: Sequence[bytes]
    ) -> JournalPosition | None:
        """Replace all entries with a new generation, atomically; return the new end.

        Return None if *after* is not the end. A journal that was lost completely may be renewed
        from any position. At least one body is required, because its entry tells readers to discard
        earlier state. Raises LedgerFailed without bodies or for too large bodies.
        """
        if not bodies:
            raise LedgerFailed("a journal cannot be renewed with nothing")
        _check(bodies)
        partition = _partition(feed)
        claim = await self._claim(partition, after)
        if claim is None:
            return None
        before, ours = claim
        # Nobody else writes rows of a generation that was claimed, and nobody reads them yet.
        writes = _entries("replace", JournalPosition(ours), bodies, uuid4().hex)
        for part in in_transactions(Unit(write.row, [write]) for write in writes):
            await apply(self._table, partition, part)
        end = JournalPosition(ours, len(bodies))
        if not await self._switch(partition, before, end):
            await self._delete(partition, _row(ours, 0), _row(ours + 1, 0))
            return None
        await self._sweep(partition, ours)
        return end

    async def _claim(
        self, partition: str, after: JournalPosition
    ) -> tuple[JournalPosition, int] | None:
        """Reserve a generation for a renewal; return it with the end of the current generation."""
        while True:
            head = await self._head(partition)
            if head.place != after and head.etag is not None:
                return None
            ours = max(head.claimed, head.place.generation, after.generation) + 1
            try:
                await self._table.write(partition, [head.changed(claimed=ours)])
            except WriteConflict:
                continue  # if it was ours without an answer, a number is skipped
            return head.place, ours

    async def _switch(self, partition: str, before: JournalPosition, end: JournalPosition) -> bool:
        """Make a new generation current if the end of the current generation is unchanged."""
        while (head := await self._head(partition)).place == before:
            values = {"generation": end.generation, "number": end.number}
            try:
                await self._table.write(partition, [head.changed(**values)])
            except WriteConflict:
                continue
            return True
        return head.place.generation == end.generation

    async def _sweep(self, partition: str, generation: int) -> None:
        """Delete earlier generations and record it, or leave that to the next writer."""
        if await self._delete(partition, _row(0, 0), _row(generation, 0)):
            try:
                await self._table.write(partition, [Write("merge", _HEAD, {"swept": generation})])
            except WriteConflict:
                return

    async def _delete(self, partition: str, low: str, high: str) -> bool:
        """Delete rows; return False if another instance is deleting them at the same time."""
        pages = self._table.pages(partition, low, high, page_size=_DELETE_BATCH)
        try:
            async with aclosing(pages):
                async for page in pages:
                    if page:
                        await self._table.write(
                            partition, [Write("delete", one.row) for one in page]
                        )
        except WriteConflict:
            return False
        return True

    async def _head(self, partition: str) -> _JournalHead:
        found = await self._table.get(partition, _HEAD)
        if found is None:
            return _JournalHead()
        generation, number, claimed, swept = (
            int(found.values[name]) for name in ("generation", "number", "claimed", "swept")
        )
        return _JournalHead(JournalPosition(generation, number), claimed, swept, found.etag)

    @override
    async def close(self) -> None:
        """Close the table's connections."""
        await self._table.close()


def _check(bodies: Sequence[bytes]) -> None:
    largest = max(map(len, bodies), default=0)
    if largest > MAX_JOURNAL_BODY_BYTES:
        raise LedgerFailed(f"{largest:,} bytes are more than an entry of a journal may hold")


def _partition(feed: str) -> str:
    return f"feed-{safe(feed)}"


def _row(generation: int, number: int) -> str:
    """Return the key of an entry's row. Keys sort like positions."""
    return f"{generation:06}-{number:09}"


def _entries(kind: str, after: JournalPosition, bodies: Sequence[bytes], mark: str) -> list[Write]:
    """Return the writes of entries directly after a position. *mark* identifies the writer."""
    return [
        Write(kind, _row(after.generation, number), {"body": body, "mark": mark})
        for number, body in enumerate(bodies, after.number + 1)
    ]
