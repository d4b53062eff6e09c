"""Journals in Azure Table Storage: what the instances on one table tell each other of feeds.

A feed's journal is one partition, ``feed-NAME``:

``GENERATION-NUMBER``  an entry; entries never change while their generation is in force
``head``               which generation is in force, and where it ends

Every change of what readers see goes together with a conditional write of ``head``: of two
writers one is first, and the other one finds out. A journal without ``head`` is empty.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from consumers.ledger.table.rows import Write, WriteConflict, in_transactions, safe
from schemas.errors import LedgerFailed
from schemas.feed_ports import JournalEntry, JournalPosition

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from consumers.ledger.table.client import StateTable

MAX_EXTENSION_BODIES = 20
"""Bodies that one extension may add: with their base64 they stay below the service's 4 MiB."""
MAX_JOURNAL_BODY_BYTES = 60_000
"""Bytes; a property holds 64 KiB."""
_JOURNAL_PAGE = 64
"""Entries that are read at once; in base64 they take up to 5 MB."""
_DELETE_BATCH = 100
"""What one transaction may hold."""
_HEAD = "head"
_START = JournalPosition()


@dataclass(frozen=True, slots=True)
class _JournalHead:
    """What ``head`` says; ``etag`` None: there is none, and the journal is empty."""

    place: JournalPosition = _START
    claimed: int = 0
    """The highest generation that a renewal, finished or not, has taken."""
    swept: int = 0
    """Nothing is left of generations before this one."""
    etag: str | None = None

    def changed(self, **values: int) -> Write:
        """Return a write that fails if anybody has changed the head since it was read."""
        if self.etag is None:
            fresh = {"generation": 0, "number": 0, "claimed": 0, "swept": 0}
            return Write("create", _HEAD, {**fresh, **values})
        return Write("merge", _HEAD, values, self.etag)


class TableJournal:
    """See :class:`schemas.feed_ports.FeedJournal`.

    The table has to be open; :meth:`close` closes it. Every method waits until the service
    answers, however long that takes.
    """

    def __init__(self, table: StateTable) -> None:
        self._table = table

    async def entries(
        self, feed: str, after: JournalPosition
    ) -> AsyncGenerator[list[JournalEntry]]:
        """Yield the entries after a place, in order, some at a time; see the port.

        One request when nothing is new. The journal begins anew for the reader, from the first
        entry of what is in force, also when it is renewed while it is read, and when it has lost
        its end to a failover of the storage account. LedgerFailed when entries are missing.
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
        """Yield the entries after *start* up to *end*, or up to the first that is missing."""
        generation, number = start.generation, start.number
        low, high = _row(generation, number + 1), _row(generation, end.number + 1)
        pages = self._table.pages(partition, low, high, ["body"], most=_JOURNAL_PAGE)
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

    async def extend(
        self, feed: str, after: JournalPosition, bodies: Sequence[bytes]
    ) -> JournalPosition | None:
        """Add entries right after a place, all or none; return the new end.

        None if *after* is not the end any more. Where the answer to our own write got lost, what
        stands there tells whose it is. LedgerFailed for more or larger bodies than is allowed.
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
        """Tell whether the entry right after a place bears a mark."""
        row = _row(after.generation, after.number + 1)
        found = await self._table.get(partition, row, ["mark"])
        return found is not None and found.values.get("mark") == mark

    async def renew(
        self, feed: str, after: JournalPosition, bodies: Sequence[bytes]
    ) -> JournalPosition | None:
        """Replace all entries by these, as a new generation, in one step; return the new end.

        None if *after* is not the end; a journal that was lost altogether may be renewed from any
        place. At least one body: by its entry readers see that they have to forget. LedgerFailed
        for none, and for larger ones than is allowed.
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
        for part in in_transactions(writes):
            await self._table.write(partition, part)
        end = JournalPosition(ours, len(bodies))
        if not await self._switch(partition, before, end):
            await self._delete(partition, _row(ours, 0), _row(ours + 1, 0))
            return None
        await self._sweep(partition, ours)
        return end

    async def _claim(
        self, partition: str, after: JournalPosition
    ) -> tuple[JournalPosition, int] | None:
        """Take a generation for a renewal; return the end of the one in force with it."""
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
        """Put a new generation in force if the one in force still ends where it did."""
        while (head := await self._head(partition)).place == before:
            values = {"generation": end.generation, "number": end.number}
            try:
                await self._table.write(partition, [head.changed(**values)])
            except WriteConflict:
                continue
            return True
        return head.place.generation == end.generation

    async def _sweep(self, partition: str, generation: int) -> None:
        """Delete what is of earlier generations, and note that; or leave it to the next writer."""
        if await self._delete(partition, _row(0, 0), _row(generation, 0)):
            try:
                await self._table.write(partition, [Write("merge", _HEAD, {"swept": generation})])
            except WriteConflict:
                return

    async def _delete(self, partition: str, low: str, high: str) -> bool:
        """Delete rows; False when somebody else is at it, who will get further."""
        pages = self._table.pages(partition, low, high, most=_DELETE_BATCH)
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
    """Return the name of an entry's row; names sort as places do."""
    return f"{generation:06}-{number:09}"


def _entries(kind: str, after: JournalPosition, bodies: Sequence[bytes], mark: str) -> list[Write]:
    """Return the writes of entries right after a place; *mark* tells who wrote them."""
    return [
        Write(kind, _row(after.generation, number), {"body": body, "mark": mark})
        for number, body in enumerate(bodies, after.number + 1)
    ]
