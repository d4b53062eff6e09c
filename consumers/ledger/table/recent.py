"""Recent sign-ins in Azure Table Storage, in a separate table.

``hHOUR``  the segments that begin in an hour since the epoch: ``MILLISECONDS-UUID``
``hours``  a row for each hour that has or had segments; all of them end before ``until``

The table client waits for the service without a limit. This store is best effort, so it applies a
timeout.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from typing_extensions import override

from consumers.ledger.table.entities import MissingRow, Write, WriteConflict, put
from consumers.ledger.table.transactions import Unit, apply, in_transactions
from schemas.errors import LedgerFailed
from schemas.ledger_ports import RecentChunk, RecentCoverage, RecentStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from consumers.ledger.table.client import StateTable
    from consumers.ledger.table.entities import Entity, Value
    from schemas.ports import Clock

Result = TypeVar("Result")

REQUEST_TIMEOUT_SECONDS = 20.0
"""Timeout of a request or of a batch of concurrent requests."""
MAX_SEGMENT_BODY_BYTES = 600_000
"""Bytes. An entity holds 1 MiB."""
MAX_SEGMENT_ADDRESSES_BYTES = 30_000

_HOURS = "hours"
_HOUR = 3_600.0
_HOUR_BATCH = 16
_SEGMENT_PAGE = 50
"""Segments per page of the index, without bodies. In base64 they take up to 2 MB."""
_COVERAGE_SECONDS = 300.0
_MAX_PROPERTY_BYTES = 65_536
_PARTS = [f"body{n}" for n in range(-(-MAX_SEGMENT_BODY_BYTES // _MAX_PROPERTY_BYTES))]
_INDEX_COLUMNS = ("first", "last", "signins", "addresses")
_FIGURES = ("first", "last", "signins", "size")
_ALL = ("0", ":")
"""The bounds of all row keys, which begin with digits."""
_KEY = re.compile(r"(h[0-9]{6,})\|([0-9]{15,}-[0-9a-f]{32})")


class TableRecentStore(RecentStore):
    """Recent sign-ins of any number of instances on one table.

    The first request opens the table and, with *create*, creates it if needed. :meth:`close` closes
    it. All other methods raise LedgerFailed after :data:`REQUEST_TIMEOUT_SECONDS`.
    """

    def __init__(self, table: StateTable, clock: Clock, *, create: bool = True) -> None:
        self._table = table
        self._clock = clock
        self._create = create
        self._opened = False
        self._coverage: tuple[float, RecentCoverage] | None = None

    @override
    async def append(self, chunk: RecentChunk) -> None:
        """Store a segment. Raises LedgerFailed also if it is too large."""
        values = _values(chunk)
        partition, row = _partition(chunk.first), _new_row(chunk.first)

        async def write() -> None:
            await self._record_hour(partition, chunk.last)
            await self._table.write(partition, [Write("replace", row, values)])

        await self._with_timeout(write)

    async def _record_hour(self, partition: str, last: float) -> None:
        """Keep an hour in the list of hours until all of its segments have ended."""
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

    @override
    async def segment_index(self, since: float) -> AsyncGenerator[list[RecentChunk]]:
        for hour in await self._hours():
            if float(hour.values["until"]) <= since:
                continue
            partition = f"h{hour.row}"
            async with aclosing(self._pages(partition, _INDEX_COLUMNS)) as pages:
                async for page in pages:
                    segments = [_segment(partition, entity) for entity in page]
                    if recent := [segment for segment in segments if segment.last >= since]:
                        yield recent

    async def _pages(self, partition: str, columns: Sequence[str]) -> AsyncGenerator[list[Entity]]:
        """Yield an hour's rows. The timeout applies to each page, not to the reader."""
        async with aclosing(
            self._table.pages(partition, *_ALL, columns, page_size=_SEGMENT_PAGE)
        ) as pages:
            while (page := await self._with_timeout(lambda: anext(pages, None))) is not None:
                yield page

    async def _hours(self) -> list[Entity]:
        return await self._with_timeout(lambda: self._table.rows(_HOURS, *_ALL, ["until"]))

    @override
    async def body(self, key: str) -> bytes | None:
        row_key = _row_key(key)
        if row_key is None:
            return None
        found = await self._with_timeout(lambda: self._table.get(*row_key, _PARTS))
        if found is None:
            return None
        return b"".join(found.values.get(name, b"") for name in _PARTS)

    @override
    async def replace(self, key: str, chunk: RecentChunk | None) -> None:
        """Replace a segment, or delete it if *chunk* is None. Ignore a deleted segment."""
        row_key = _row_key(key)
        if row_key is None:
            return
        partition, row = row_key
        if chunk is None:
            await self._with_timeout(lambda: self._delete(partition, [row]))
            return
        values, last = _values(chunk), chunk.last

        async def write() -> None:
            await self._record_hour(partition, last)
            while (found := await self._table.get(partition, row, ["first"])) is not None:
                try:
                    await self._table.write(partition, [Write("replace", row, values, found.etag)])
                except WriteConflict:
                    continue
                return

        await self._with_timeout(write)

    @override
    async def enforce_limits(self, before: float, largest: int) -> None:
        hours = await self._hours()
        rows = await self._measured(hours)
        for partition, names in _to_delete(rows, before, largest).items():
            for start in range(0, len(names), _SEGMENT_PAGE):
                batch = names[start : start + _SEGMENT_PAGE]
                await self._with_timeout(partial(self._delete, partition, batch))
        for hour in hours:
            if float(hour.values["until"]) <= before:
                await self._with_timeout(partial(self._forget_hour, hour))

    async def _forget_hour(self, hour: Entity) -> None:
        try:
            await self._table.write(_HOURS, [Write("delete", hour.row, etag=hour.etag)])
        except WriteConflict:
            return  # a new segment, or another instance deletes too

    async def _delete(self, partition: str, rows: Sequence[str]) -> None:
        """Delete rows. Ignore rows that are already gone."""
        for part in in_transactions(Unit(row, [Write("delete", row)]) for row in rows):
            applied = await apply(self._table, partition, part)
            for row in applied.conflicts if len(part) > 1 else ():  # one row is gone
                with suppress(MissingRow):
                    await self._table.write(partition, [Write("delete", row)])

    async def coverage(self) -> RecentCoverage:
        """Return the coverage, at most five minutes old."""
        now = self._clock.now()
        if self._coverage is None or not 0 <= now - self._coverage[0] < _COVERAGE_SECONDS:
            rows = [entity for _, entity in await self._measured(await self._hours())]
            since = min((float(entity.values["first"]) for entity in rows), default=None)
            signins = sum(int(entity.values["signins"]) for entity in rows)
            size = sum(int(entity.values["size"]) for entity in rows)
            self._coverage = now, RecentCoverage(since, signins, size)
        return self._coverage[1]

    async def _measured(self, hours: Sequence[Entity]) -> list[tuple[str, Entity]]:
        """Return partition and figures of every segment in *hours*, oldest first."""

        async def measure_hour(partition: str) -> list[tuple[str, Entity]]:
            rows = await self._table.rows(partition, *_ALL, _FIGURES)
            return [(partition, entity) for entity in rows]

        async def measure(batch: Sequence[Entity]) -> list[list[tuple[str, Entity]]]:
            return await asyncio.gather(*(measure_hour(f"h{hour.row}") for hour in batch))

        measured: list[tuple[str, Entity]] = []
        for start in range(0, len(hours), _HOUR_BATCH):
            batch = await self._with_timeout(partial(measure, hours[start : start + _HOUR_BATCH]))
            measured += [segment for hour in batch for segment in hour]
        return measured

    async def _with_timeout(self, request: Callable[[], Awaitable[Result]]) -> Result:
        """Send requests. Raises LedgerFailed if they are not answered in time."""
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                if not self._opened:
                    await self._table.open(create=self._create)
                    self._opened = True
                return await request()
        except TimeoutError:
            raise LedgerFailed(
                f"the table of recent sign-ins gave no answer within {REQUEST_TIMEOUT_SECONDS:g} s"
            ) from None

    @override
    async def close(self) -> None:
        await self._table.close()


def _partition(first: float) -> str:
    return f"h{int(first // _HOUR):06}"


def _new_row(first: float) -> str:
    """Return a unique row key. Keys sort by the first sign-in of the segment."""
    return f"{int(first * 1_000):015}-{uuid4().hex}"


def _row_key(key: str) -> tuple[str, str] | None:
    """Return the partition and the row of a segment, or None for an invalid key."""
    found = _KEY.fullmatch(key)
    return None if found is None else (found[1], found[2])


def _values(chunk: RecentChunk) -> dict[str, Value]:
    if (
        len(chunk.body) > MAX_SEGMENT_BODY_BYTES
        or len(chunk.addresses) > MAX_SEGMENT_ADDRESSES_BYTES
    ):
        raise LedgerFailed(
            f"a segment of {len(chunk.body):,} and {len(chunk.addresses):,} bytes is too large"
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


def _segment(partition: str, found: Entity) -> RecentChunk:
    """Parse a row of the segment index."""
    values = found.values
    return RecentChunk(
        float(values["first"]),
        float(values["last"]),
        int(values["signins"]),
        bytes(values["addresses"]),
        b"",
        f"{partition}|{found.row}",
    )


def _to_delete(
    rows: Sequence[tuple[str, Entity]], before: float, largest: int
) -> dict[str, list[str]]:
    """Return the segments to delete, by partition. *rows* lists all segments, oldest first."""
    old = [float(entity.values["last"]) < before for _, entity in rows]
    sizes = [int(entity.values["size"]) for _, entity in rows]
    left = sum(size for size, gone in zip(sizes, old, strict=True) if not gone)
    deletes: dict[str, list[str]] = {}
    for (partition, entity), gone, size in zip(rows, old, sizes, strict=True):
        if not gone and left > largest:
            left -= size
        elif not gone:
            continue
        deletes.setdefault(partition, []).append(entity.row)
    return deletes
