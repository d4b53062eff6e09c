"""Sign-ins of lately in Azure Table Storage, in a table of their own.

``hHOUR``  the chunks that begin in an hour, counted from the epoch: ``MILLISECONDS-UUID``
``hours``  a row for each hour that has, or had, chunks; ``until``: all of them ended before that

The table waits for the service for ever. This is as well as can be, so it waits for a while only.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from consumers.ledger.table.rows import MissingRow, Write, WriteConflict, in_transactions, put
from schemas.errors import LedgerFailed
from schemas.ledger_ports import RecentChunk, RecentCoverage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from consumers.ledger.table.client import StateTable
    from consumers.ledger.table.rows import Entity, Value
    from schemas.ports import Clock

Result = TypeVar("Result")

REQUEST_TIMEOUT_SECONDS = 20.0
"""Seconds that a request, or some at once, may take."""
MAX_SEGMENT_BODY_BYTES = 600_000
"""Bytes; an entity holds 1 MiB."""
MAX_SEGMENT_ADDRESSES_BYTES = 30_000

_HOURS = "hours"
_HOUR = 3_600.0
_HOUR_BATCH = 16
_SEGMENT_PAGE = 50
"""Outlines that are read at once; in base64 they take up to 2 MB."""
_COVERAGE_SECONDS = 300.0
_MAX_PROPERTY_BYTES = 65_536
_PARTS = [f"body{n}" for n in range(-(-MAX_SEGMENT_BODY_BYTES // _MAX_PROPERTY_BYTES))]
_INDEX_COLUMNS = ("first", "last", "signins", "addresses")
_FIGURES = ("first", "last", "signins", "size")
_ALL = ("0", ":")
"""What bounds the names of all rows: they begin with digits."""
_KEY = re.compile(r"(h[0-9]{6,})\|([0-9]{15,}-[0-9a-f]{32})")


class TableRecentStore:
    """See :class:`schemas.ledger_ports.RecentStore`; any number of instances on one table.

    The table is opened with the first request, and made if *create* allows; :meth:`close` closes
    it. Every method but close raises LedgerFailed when the service does not answer for a while.
    """

    def __init__(self, table: StateTable, clock: Clock, *, create: bool = True) -> None:
        self._table = table
        self._clock = clock
        self._create = create
        self._opened = False
        self._coverage: tuple[float, RecentCoverage] | None = None

    async def append(self, chunk: RecentChunk) -> None:
        """Keep a chunk. LedgerFailed also if it is larger than is allowed."""
        values = _values(chunk)
        partition, row = _partition(chunk.first), _new_row(chunk.first)

        async def write() -> None:
            await self._note_hour(partition, chunk.last)
            await self._table.write(partition, [Write("replace", row, values)])

        await self._soon(write)

    async def _note_hour(self, partition: str, last: float) -> None:
        """See to it that an hour is found as long as one of its chunks may be wanted."""
        while True:
            found = await self._table.get(_HOURS, partition[1:], ["until"])
            if found is not None and float(found.values["until"]) > last:
                return
            until = (last // _HOUR + 1) * _HOUR
            try:
                await self._table.write(_HOURS, [put(partition[1:], found, until=until)])
            except WriteConflict:
                continue
            return

    async def segment_index(self, since: float) -> AsyncGenerator[list[RecentChunk]]:
        """Yield chunks that end at or after *since*, oldest first, without their bodies."""
        for hour in await self._hours():
            if float(hour.values["until"]) <= since:
                continue
            partition = f"h{hour.row}"
            async with aclosing(self._pages(partition, _INDEX_COLUMNS)) as pages:
                async for page in pages:
                    chunks = [_chunk(partition, one) for one in page]
                    if late := [one for one in chunks if one.last >= since]:
                        yield late

    async def _pages(self, partition: str, columns: Sequence[str]) -> AsyncGenerator[list[Entity]]:
        """Yield an hour's rows; each page has its own time, whatever the reader takes."""
        async with aclosing(
            self._table.pages(partition, *_ALL, columns, most=_SEGMENT_PAGE)
        ) as pages:
            while (page := await self._soon(lambda: anext(pages, None))) is not None:
                yield page

    async def _hours(self) -> list[Entity]:
        return await self._soon(lambda: self._table.rows(_HOURS, *_ALL, ["until"]))

    async def body(self, key: str) -> bytes | None:
        """Return a chunk's body, None if it has gone."""
        place = _place(key)
        if place is None:
            return None
        found = await self._soon(lambda: self._table.get(*place, _PARTS))
        if found is None:
            return None
        return b"".join(found.values.get(name, b"") for name in _PARTS)

    async def replace(self, key: str, chunk: RecentChunk | None) -> None:
        """Put another chunk in the place of one, or nothing. What has gone stays gone."""
        place = _place(key)
        if place is None:
            return
        partition, row = place
        if chunk is None:
            await self._soon(lambda: self._delete(partition, [row]))
            return
        values, last = _values(chunk), chunk.last

        async def write() -> None:
            await self._note_hour(partition, last)
            while (found := await self._table.get(partition, row, ["first"])) is not None:
                try:
                    await self._table.write(partition, [Write("replace", row, values, found.etag)])
                except WriteConflict:
                    continue
                return

        await self._soon(write)

    async def enforce_limits(self, before: float, largest: int) -> None:
        """Drop what ended before a time, and the oldest while all takes more bytes than that."""
        hours = await self._hours()
        rows = await self._measured(hours)
        for partition, names in _doomed(rows, before, largest).items():
            for start in range(0, len(names), _SEGMENT_PAGE):
                part = names[start : start + _SEGMENT_PAGE]
                await self._soon(partial(self._delete, partition, part))
        for hour in hours:
            if float(hour.values["until"]) <= before:
                await self._soon(partial(self._forget_hour, hour))

    async def _forget_hour(self, hour: Entity) -> None:
        try:
            await self._table.write(_HOURS, [Write("delete", hour.row, etag=hour.etag)])
        except WriteConflict:
            return  # a chunk has come, or another instance trims as well

    async def _delete(self, partition: str, rows: Sequence[str]) -> None:
        """Delete rows; those that are gone already are let be."""
        for part in in_transactions([Write("delete", row) for row in rows]):
            try:
                await self._table.write(partition, part)
            except MissingRow:
                if len(part) > 1:
                    for one in part:
                        await self._delete(partition, [one.row])

    async def coverage(self) -> RecentCoverage:
        """Return how much there is, as counted up to five minutes ago."""
        now = self._clock.now()
        if self._coverage is None or not 0 <= now - self._coverage[0] < _COVERAGE_SECONDS:
            rows = [one for _, one in await self._measured(await self._hours())]
            since = min((float(one.values["first"]) for one in rows), default=None)
            signins = sum(int(one.values["signins"]) for one in rows)
            size = sum(int(one.values["size"]) for one in rows)
            self._coverage = now, RecentCoverage(since, signins, size)
        return self._coverage[1]

    async def _measured(self, hours: Sequence[Entity]) -> list[tuple[str, Entity]]:
        """Return the partitions and figures of all chunks of some hours, oldest first."""

        async def measure_one(partition: str) -> list[tuple[str, Entity]]:
            rows = await self._table.rows(partition, *_ALL, _FIGURES)
            return [(partition, one) for one in rows]

        async def measure(some: Sequence[Entity]) -> list[list[tuple[str, Entity]]]:
            return await asyncio.gather(*(measure_one(f"h{hour.row}") for hour in some))

        measured: list[tuple[str, Entity]] = []
        for start in range(0, len(hours), _HOUR_BATCH):
            some = await self._soon(partial(measure, hours[start : start + _HOUR_BATCH]))
            measured += [one for hour in some for one in hour]
        return measured

    async def _soon(self, request: Callable[[], Awaitable[Result]]) -> Result:
        """Send requests; LedgerFailed if they are not answered in time."""
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                if not self._opened:
                    await self._table.open(create=self._create)
                    self._opened = True
                return await request()
        except TimeoutError:
            raise LedgerFailed(
                f"the table of late sign-ins gives no answer within {REQUEST_TIMEOUT_SECONDS:g} s"
            ) from None

    async def close(self) -> None:
        """Close the table's connections."""
        await self._table.close()


def _partition(first: float) -> str:
    return f"h{int(first // _HOUR):06}"


def _new_row(first: float) -> str:
    """Return a name that nobody else takes; names sort as what they name begins."""
    return f"{int(first * 1_000):015}-{uuid4().hex}"


def _place(key: str) -> tuple[str, str] | None:
    """Return the partition and the row of a chunk, None for what was never a key."""
    found = _KEY.fullmatch(key)
    return None if found is None else (found[1], found[2])


def _values(chunk: RecentChunk) -> dict[str, Value]:
    if (
        len(chunk.body) > MAX_SEGMENT_BODY_BYTES
        or len(chunk.addresses) > MAX_SEGMENT_ADDRESSES_BYTES
    ):
        raise LedgerFailed(
            f"a chunk of {len(chunk.body):,} and {len(chunk.addresses):,} bytes is too large"
        )
    starts = range(0, len(chunk.body), _MAX_PROPERTY_BYTES)
    parts = (chunk.body[at : at + _MAX_PROPERTY_BYTES] for at in starts)
    return {
        "first": float(chunk.first),
        "last": float(chunk.last),
        "signins": chunk.signins,
        "size": len(chunk.body) + len(chunk.addresses),
        "addresses": chunk.addresses,
        **dict(zip(_PARTS, parts, strict=False)),
    }


def _chunk(partition: str, found: Entity) -> RecentChunk:
    """Read an outline."""
    values = found.values
    return RecentChunk(
        float(values["first"]),
        float(values["last"]),
        int(values["signins"]),
        bytes(values["addresses"]),
        b"",
        f"{partition}|{found.row}",
    )


def _doomed(
    rows: Sequence[tuple[str, Entity]], before: float, largest: int
) -> dict[str, list[str]]:
    """Return the chunks to be dropped, by partition; *rows* are all there are, oldest first."""
    old = [float(one.values["last"]) < before for _, one in rows]
    sizes = [int(one.values["size"]) for _, one in rows]
    left = sum(size for size, gone in zip(sizes, old, strict=True) if not gone)
    doomed: dict[str, list[str]] = {}
    for (partition, one), gone, size in zip(rows, old, sizes, strict=True):
        if not gone and left > largest:
            left -= size
        elif not gone:
            continue
        doomed.setdefault(partition, []).append(one.row)
    return doomed
